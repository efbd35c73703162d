"""Recovery: fine-tune a changed module to match its original's outputs, on the user's training data."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.frameworks import torch_pass
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.train.batches import BatchSchedule, kept_outputs
from edgekit.passes.train.distil import Distillation
from edgekit.passes.train.recovery import Recovery
from edgekit.passes.train.training_run import TrainingRun
from edgekit.plugin import Training
from edgekit.tasks.config import TaskConfig

PACKAGES = ("torch", "transformers")


@dataclass(frozen=True)
class Recovered:
    """A trained model, and the summary of its training."""

    model: Model
    steps: int
    samples: int
    first_loss: float
    last_loss: float
    """Means over the first and the last tenth of the steps."""

    @property
    def note(self) -> str:
        import torch

        return (
            f"{self.steps} steps on {self.samples} samples: loss {self.first_loss:.3g}, then {self.last_loss:.3g}; "
            f"{torch.get_num_threads()} threads (another number changes the last digits)"
        )


def recover(student: Model, training: Training, recovery: Recovery, *, stage: str) -> Recovered:
    """Return the student with a copy of its module trained to match the outputs of `training.teacher`.

    Student and teacher are not changed. `stage` names this training among those of one pass and its files in
    `training.folder`. Raises BuildError where the loss is not finite.
    """
    if not len(training.data):
        raise UsageError("the training data is empty.", hint="pass samples with --train")
    with quiet(), _repeatable():
        batches = _schedule(training, recovery)
        own = torch_pass.with_module(student, copy.deepcopy(torch_pass.module_of(student)))
        run = TrainingRun(own, batches, recovery, _objective(student, training, recovery), training, stage)
        if not run.finished():
            with training.progress.step(f"training ({stage})", len(batches)) as tick:
                run.resume(tick)
                for step in range(run.step, len(run.batches)):
                    run.begin(step)
                    loss = run.loss(run.batches[step])
                    loss.backward()
                    run.update(loss)
                    run.end(step, tick)
                run.finish()
        run.clean_up()
    trained = torch_pass.with_module(own, run.module)
    return Recovered(trained, len(batches), len(training.data), *run.first_and_last_loss())


def _schedule(training: Training, recovery: Recovery) -> BatchSchedule:
    data, teacher = training.data, training.teacher
    augments = data.picture is not None and (recovery.shift or recovery.mirror)
    outputs = None if augments else kept_outputs(teacher, data, training.folder, training.progress)
    return BatchSchedule(
        data, teacher, recovery.batch_size, recovery.epochs, training.seed, recovery.shift, recovery.mirror, outputs
    )


def _objective(student: Model, training: Training, recovery: Recovery) -> Distillation:
    data = training.data
    config = TaskConfig.load(student.assets)
    probabilities = config is not None and config.activation == "probabilities"
    return Distillation(data.problem, data.answer, probabilities, recovery.temperature, recovery.label_weight)


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Use deterministic kernels, and restore the caller's random generators at the end."""
    import random

    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()  # each step seeds these too
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            random.setstate(states[0])
            np.random.set_state(states[1])
