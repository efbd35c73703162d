"""A training run: its steps, its checkpoints and its result.

Every step follows from the seed and its own number, so a checkpoint is weights, the optimizer's state and the number of
the next step: a training that was killed continues from there to the same weights as one that was not.
"""

from __future__ import annotations

import math
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit._files import replacing
from edgekit._record import digest_of
from edgekit.errors import BuildError
from edgekit.frameworks import torch_pass
from edgekit.model import Model
from edgekit.passes.train.batches import Batch, BatchSchedule, run, seed_of
from edgekit.passes.train.distil import Distillation
from edgekit.passes.train.recovery import Recovery
from edgekit.plugin import Training
from edgekit.progress import Tick

CHECKPOINT_S = 60.0
"""A checkpoint is written at the end of each epoch, and at least this often."""

MIN_NORM_BATCH = 8
"""Smaller batches leave batch norms as they are: their statistics would be those of a few samples."""

NORM_BATCHES = 64
"""Number of batches whose statistics are averaged for the batch norms: running ones depend on the last few steps."""


@dataclass
class TrainingRun:
    """The state of a training, as in a checkpoint, and what a step does to it."""

    model: Model
    batches: BatchSchedule
    recovery: Recovery
    objective: Distillation
    training: Training
    stage: str
    step: int = 0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.module: Any = torch_pass.module_of(self.model)
        # A file with another key belongs to a training of other weights or settings.
        self._key = digest_of([torch_pass.digest_of(self.module), self.recovery.to_dict(), len(self.batches)])
        self._saved_at = time.monotonic()
        self._requires_grad = {name: parameter.requires_grad for name, parameter in self.module.named_parameters()}
        self.module.requires_grad_(True)
        self.optimizer, self.lr_schedule = self._optimizer()

    def begin(self, step: int) -> None:
        """Prepare a step: what is random in it, as dropout, follows from its number."""
        import numpy as np
        import torch

        seed = seed_of(self.training.seed, self.stage, step)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # some models of transformers mask their inputs with it
        self.optimizer.zero_grad(set_to_none=True)
        self.train_mode()

    def train_mode(self) -> None:
        import torch

        self.module.train()
        if self.batches.size < MIN_NORM_BATCH or not torch_pass.takes_batches(self.model):
            for part in self.module.modules():
                if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def loss(self, batch: Batch) -> Any:
        """Return the loss of a batch. Raises BuildError where it is not finite."""
        import torch

        loss = self.objective.loss(run(self.model, batch.inputs), batch.teacher, batch.labels, batch.inputs)
        if not bool(torch.isfinite(loss)):
            raise BuildError(
                f"the training of '{self.stage}' does not converge: its loss is not finite at step {self.step}.",
                hint=f"use a smaller learning_rate than {self.rate:g} in the recipe",
            )
        self.losses.append(float(loss.detach()))
        return loss

    def update(self, loss: Any) -> None:
        import torch

        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.lr_schedule.step()

    def end(self, step: int, tick: Tick) -> None:
        """Count a step, and write a checkpoint where one is due."""
        self.step = step + 1
        tick(1, f"loss {self.losses[-1]:.3g}")
        whole_epoch = self.step % self.batches.per_epoch == 0
        if whole_epoch or time.monotonic() - self._saved_at > CHECKPOINT_S:
            self._write(self._checkpoint, {"optimizer": self.optimizer.state_dict()})
            self._saved_at = time.monotonic()

    def resume(self, tick: Tick) -> None:
        """Load the last checkpoint of this training, where there is one."""
        saved = self._read(self._checkpoint)
        if saved is None:
            return
        self._load(saved)
        self.optimizer.load_state_dict(saved["optimizer"])
        for _ in range(self.step):
            self.lr_schedule.step()
        tick(self.step, "resumed")

    def finished(self) -> bool:
        """Return whether this training has finished before, and load its weights in that case."""
        saved = self._read(self._result)
        if saved is not None:
            self._load(saved)
        return saved is not None

    def finish(self) -> None:
        """Set batch norms to the statistics of many samples, and write the result."""
        _set_norm_statistics(self)
        self._write(self._result, {})

    def clean_up(self) -> None:
        """Leave the module ready for export: gradients as they were asked for, eval mode, no checkpoint."""
        self._checkpoint.unlink(missing_ok=True)
        self.optimizer.zero_grad(set_to_none=True)
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(self._requires_grad.get(name, True))
        self.module.eval()

    def first_and_last_loss(self) -> tuple[float, float]:
        """Return the mean loss of the first tenth of the steps and of the last."""
        count = max(1, len(self.losses) // 10)
        first, last = self.losses[:count], self.losses[-count:]
        return sum(first) / len(first), sum(last) / len(last)

    @property
    def _checkpoint(self) -> Path:
        return self.training.folder / f"{self.stage}.checkpoint"

    @property
    def _result(self) -> Path:
        return self.training.folder / f"{self.stage}.result"

    def _optimizer(self) -> tuple[Any, Any]:
        import torch

        recovery, steps = self.recovery, len(self.batches)
        self.rate = recovery.learning_rate or _default_rate(self.module)
        decayed = [p for p in self.module.parameters() if p.dim() > 1]
        others = [p for p in self.module.parameters() if p.dim() <= 1]  # biases and norms
        groups = [{"params": decayed, "weight_decay": recovery.weight_decay}, {"params": others, "weight_decay": 0.0}]
        if recovery.optimizer == "sgd":
            optimizer: Any = torch.optim.SGD(groups, lr=self.rate, momentum=0.9, nesterov=True)
        else:
            optimizer = torch.optim.AdamW(groups, lr=self.rate)
        warm = max(1, round(recovery.warmup * steps))

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def _load(self, saved: Any) -> None:
        self.module.load_state_dict(saved["module"])
        self.step, self.losses = saved["step"], list(saved["losses"])

    def _write(self, path: Path, more: dict[str, Any]) -> None:
        """Write a file completely or not at all, so that a kill leaves the previous one."""
        import torch

        state = {"key": self._key, "step": self.step, "losses": self.losses, "module": self.module.state_dict(), **more}
        with replacing(path) as part, part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> Any:
        import torch

        if not path.exists():
            return None
        saved = torch.load(path, weights_only=True)
        return saved if saved["key"] == self._key else None


def _set_norm_statistics(training_run: TrainingRun) -> None:
    """Set batch norms to the mean statistics of many batches (Wu and Johnson, arXiv:2105.07576, "precise BN")."""
    import torch

    module, model, batches = training_run.module, training_run.model, training_run.batches
    norms = [
        part
        for part in module.modules()
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    if not norms or batches.size < MIN_NORM_BATCH or not torch_pass.takes_batches(model):
        return
    before = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches since the reset
        norm.train()
    with torch.no_grad():
        for step in range(max(0, len(batches) - NORM_BATCHES), len(batches)):
            run(model, batches[step].inputs)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def _default_rate(module: Any) -> float:
    import torch

    layered = any(isinstance(part, torch.nn.LayerNorm) for part in module.modules())
    return 1e-4 if layered else 1e-3
