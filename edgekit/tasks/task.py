"""What a task is: its way from a sample to feeds, from outputs to an answer, and its metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.data import Problem, Sample
from edgekit.tasks.config import TaskConfig

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Prediction:
    """What one sample's outputs say: the value that is compared with a label, and the scores behind it."""

    value: Any
    """A class index, a similarity, or None where the task has no single answer."""
    scores: np.ndarray | None = None
    """Class probabilities, for metrics that rank."""
    outputs: Mapping[str, np.ndarray] | None = None
    """The outputs themselves, for a metric of the user's own."""


class Task(Protocol):
    """One task's way from a sample to an answer."""

    @property
    def config(self) -> TaskConfig: ...
    @property
    def metric(self) -> str | None:
        """Name the metric in use where labels exist; None where the task has none."""
        ...

    @property
    def compares_top(self) -> bool:
        """Say whether `Prediction.value` is a class, so that top-1 agreement has a meaning."""
        ...

    @property
    def problem(self) -> Problem:
        """Return what training makes of the answer: one class, several classes, a number, or only outputs."""
        ...

    def feeds(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        """Give the inputs of each inference that the sample needs (a pair may need two), each of batch size 1."""
        ...

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]]) -> Prediction:
        """Read the outputs of those inferences."""
        ...

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Give the answer for a person, as plain JSON values; tasks on tokens say more when they see the sample."""
        ...

    def label(self, raw: Any) -> Any:
        """Turn a label as the data has it (a name, a number, text) into what `Prediction.value` is compared with.

        Raises UsageError for a label that the model does not have.
        """
        ...

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        """Compute the metric. Raises UsageError where it is undefined, as AUC on one class."""
        ...
