"""A training under way: its step, its checkpoints and its result.

Every step follows from the seed and its own number, so a checkpoint is weights, the optimizer's state and the number of
the next step: a training that was killed goes on from there to the same weights as one that was not.
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
from edgekit.passes.train.batches import Lesson, Lessons, run, seed_of
from edgekit.passes.train.distil import Distillation
from edgekit.passes.train.recovery import Recovery
from edgekit.plugin import Training
from edgekit.progress import Tick

CHECKPOINT_S = 60.0
"""A checkpoint is written at the end of each epoch, and at least this often."""

FEWEST = 8
"""Batches smaller than this leave batch norms as they are: their statistics would be those of a few samples."""

SETTLING = 64
"""Batches whose mean statistics batch norms are left with: the last steps' running ones hang on a handful."""


@dataclass
class Course:
    """A training under way: what a checkpoint holds, and what a step does to it."""

    model: Model
    lessons: Lessons
    recovery: Recovery
    objective: Distillation
    training: Training
    stage: str
    step: int = 0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.module: Any = torch_pass.module_of(self.model)
        # Of other weights or settings, a file that lies there is another training's.
        self._key = digest_of([torch_pass.digest_of(self.module), self.recovery.to_dict(), len(self.lessons)])
        self._saved = time.monotonic()
        self._asks = {name: parameter.requires_grad for name, parameter in self.module.named_parameters()}
        self.module.requires_grad_(True)
        self.optimizer, self.schedule = self._optimizer()

    def begin(self, step: int) -> None:
        """Make ready for a step: what is random in it, as dropout, follows from its number."""
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
        if self.lessons.size < FEWEST or not torch_pass.takes_batches(self.model):
            for part in self.module.modules():
                if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def loss(self, lesson: Lesson) -> Any:
        """Give the loss of a batch; raises BuildError where it is not finite."""
        import torch

        found = self.objective.loss(run(self.model, lesson.inputs), lesson.teacher, lesson.labels, lesson.inputs)
        if not bool(torch.isfinite(found)):
            raise BuildError(
                f"the training of '{self.stage}' does not converge: its loss is not finite at step {self.step}.",
                hint=f"take a smaller learning_rate than {self.rate:g} in the recipe",
            )
        self.losses.append(float(found.detach()))
        return found

    def update(self, loss: Any) -> None:
        import torch

        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()

    def end(self, step: int, tick: Tick) -> None:
        """Count a step, and keep what was reached where it is time."""
        self.step = step + 1
        tick(1, f"loss {self.losses[-1]:.3g}")
        whole_epoch = self.step % self.lessons.each_epoch == 0
        if whole_epoch or time.monotonic() - self._saved > CHECKPOINT_S:
            self._write(self._checkpoint, {"optimizer": self.optimizer.state_dict()})
            self._saved = time.monotonic()

    def resume(self, tick: Tick) -> None:
        """Take up the last checkpoint, where there is one of this very training."""
        found = self._read(self._checkpoint)
        if found is None:
            return
        self._load(found)
        self.optimizer.load_state_dict(found["optimizer"])
        for _ in range(self.step):
            self.schedule.step()
        tick(self.step, "goes on")

    def finished(self) -> bool:
        """Take up the weights of this training where it came to its end before."""
        found = self._read(self._result)
        if found is not None:
            self._load(found)
        return found is not None

    def finish(self) -> None:
        """Leave batch norms with the statistics of many samples, and write the result."""
        _settle(self)
        self._write(self._result, {})

    def tidy(self) -> None:
        """Give the module as it is exported: nothing asks for gradients that did not, no checkpoint is left."""
        self._checkpoint.unlink(missing_ok=True)
        self.optimizer.zero_grad(set_to_none=True)
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(self._asks.get(name, True))
        self.module.eval()

    def ends(self) -> tuple[float, float]:
        """Give the mean loss of the first tenth of the steps and of the last."""
        some = max(1, len(self.losses) // 10)
        first, last = self.losses[:some], self.losses[-some:]
        return sum(first) / len(first), sum(last) / len(last)

    @property
    def _checkpoint(self) -> Path:
        return self.training.folder / f"{self.stage}.checkpoint"

    @property
    def _result(self) -> Path:
        return self.training.folder / f"{self.stage}.result"

    def _optimizer(self) -> tuple[Any, Any]:
        import torch

        recovery, steps = self.recovery, len(self.lessons)
        self.rate = recovery.learning_rate or _usual_rate(self.module)
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

    def _load(self, found: Any) -> None:
        self.module.load_state_dict(found["module"])
        self.step, self.losses = found["step"], list(found["losses"])

    def _write(self, path: Path, more: dict[str, Any]) -> None:
        """Write a file whole or not at all, so that a kill leaves the one before."""
        import torch

        found = {"key": self._key, "step": self.step, "losses": self.losses, "module": self.module.state_dict(), **more}
        with replacing(path) as part, part.open("wb") as file:
            torch.save(found, file)
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> Any:
        import torch

        if not path.exists():
            return None
        found = torch.load(path, weights_only=True)
        return found if found["key"] == self._key else None


def _settle(course: Course) -> None:
    """Give batch norms the mean statistics of many batches (Wu and Johnson, arXiv:2105.07576, "precise BN")."""
    import torch

    norms = [
        part
        for part in course.module.modules()
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    if not norms or course.lessons.size < FEWEST or not torch_pass.takes_batches(course.model):
        return
    before = [norm.momentum for norm in norms]
    course.module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches since the reset
        norm.train()
    with torch.no_grad():
        for step in range(max(0, len(course.lessons) - SETTLING), len(course.lessons)):
            run(course.model, course.lessons[step].inputs)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def _usual_rate(module: Any) -> float:
    import torch

    layered = any(isinstance(part, torch.nn.LayerNorm) for part in module.modules())
    return 1e-4 if layered else 1e-3
