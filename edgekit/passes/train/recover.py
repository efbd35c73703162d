"""Recovery: fine-tune a changed module until it answers as its original does, on the user's training data."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.frameworks import torch_pass
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.train.batches import Lessons, known_outputs
from edgekit.passes.train.distil import Distillation
from edgekit.passes.train.recovery import Recovery
from edgekit.passes.train.training_run import Course
from edgekit.plugin import Training
from edgekit.tasks.config import TaskConfig

PACKAGES = ("torch", "transformers")


@dataclass(frozen=True)
class Recovered:
    """A trained model, and how its training went."""

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
            f"{torch.get_num_threads()} threads (another number moves the last digits)"
        )


def recover(student: Model, training: Training, recovery: Recovery, *, stage: str) -> Recovered:
    """Train a copy of the student's module to answer as `training.teacher` does; both are left alone.

    `stage` names this training among those of one pass: its files in `training.folder` carry it. Raises BuildError
    where the loss is not finite.
    """
    if not len(training.data):
        raise UsageError("the training data is empty.", hint="give samples with --train")
    with quiet(), _repeatable():
        lessons = _lessons(training, recovery)
        own = torch_pass.with_module(student, copy.deepcopy(torch_pass.module_of(student)))
        course = Course(own, lessons, recovery, _objective(student, training, recovery), training, stage)
        if not course.finished():
            with training.progress.step(f"training ({stage})", len(lessons)) as tick:
                course.resume(tick)
                for step in range(course.step, len(course.lessons)):
                    course.begin(step)
                    loss = course.loss(course.lessons[step])
                    loss.backward()
                    course.update(loss)
                    course.end(step, tick)
                course.finish()
        course.tidy()
    trained = torch_pass.with_module(own, course.module)
    return Recovered(trained, len(lessons), len(training.data), *course.ends())


def _lessons(training: Training, recovery: Recovery) -> Lessons:
    data, teacher = training.data, training.teacher
    still = data.picture is None or not (recovery.shift or recovery.mirror)
    known = known_outputs(teacher, data, training.folder, training.progress) if still else None
    return Lessons(
        data, teacher, recovery.batch_size, recovery.epochs, training.seed, recovery.shift, recovery.mirror, known
    )


def _objective(student: Model, training: Training, recovery: Recovery) -> Distillation:
    data = training.data
    config = TaskConfig.load(student.assets)
    probabilities = config is not None and config.activation == "probabilities"
    return Distillation(data.problem, data.answer, probabilities, recovery.temperature, recovery.label_weight)


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Use kernels that give the same digits each time, and leave the caller's random numbers as they were."""
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
