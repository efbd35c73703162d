"""Tasks with one class for a sample, be it a picture, a text, a table's row or a sound; with several; with one
number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError, listed
from edgekit.tasks import metrics
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.labels import Classes
from edgekit.tasks.task import OnePart, Prediction, Preparation
from edgekit.tasks.tensor import output_of

if TYPE_CHECKING:
    import numpy as np


TOP = 5


@dataclass(frozen=True, eq=False)
class Classification(OnePart):
    """The class with the highest score."""

    problem: ClassVar[Problem] = "classes"

    config: TaskConfig
    prepare: Preparation
    classes: Classes
    metric: str | None
    compares_top: bool = True

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        scores = self._probabilities(outputs)
        self.classes.check_count(len(scores))
        return Prediction(int(scores.argmax()), scores)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        scores = self._probabilities(outputs)
        # A stable argsort of the negative keeps the order of classes with equal scores: argmax takes the first, too.
        order = (-scores).argsort(kind="stable")[:TOP]
        top = [{"label": self.classes.name(int(index)), "score": float(scores[index])} for index in order]
        return {**top[0], "top": top}

    def label(self, raw: Any) -> int:
        return self.classes.index(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        assert self.metric is not None
        beyond = [label for label in labels if predictions and label >= len(predictions[0].scores)]  # type: ignore[arg-type]  # predict sets them
        if beyond and not self.config.numbers and len(self.classes.names) > len(predictions[0].scores):  # type: ignore[arg-type]
            raise UsageError(
                f"the model has {len(predictions[0].scores)} classes, and the data {len(self.classes.names)}: "  # type: ignore[arg-type]
                f"{listed(self.classes.names)}.",
                hint="leave out the samples of classes that the model was not trained on, or give the model that was",
            )
        if beyond:
            raise UsageError(
                f"the data has the label {beyond[0]}, and the model has {len(predictions[0].scores)} classes.",  # type: ignore[arg-type]
                hint="classes count from 0: where they count from 1, name them with --labels 1,2,3; "
                "the label column is named with --label-column",
            )
        positive = 1 if self.config.positive is None else self.classes.index(self.config.positive)
        return metrics.score(self.metric, predictions, labels, positive=positive)

    def _probabilities(self, outputs: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Return the probabilities, float64 [classes]: of a long sound their mean over its windows. Raises UsageError
        for an output of another shape.
        """
        import numpy as np

        calls = [self._of_call(output_of(outputs, self.config.output, place)) for place in range(len(outputs))]
        return calls[0] if len(calls) == 1 else np.asarray(np.mean(calls, axis=0))

    def _of_call(self, array: np.ndarray) -> np.ndarray:
        import numpy as np

        scores = np.asarray(array, dtype=np.float64)
        if (
            scores.ndim == 0
            or scores.size != max(scores.shape)
            or scores.shape[0] != (scores.size if scores.ndim == 1 else 1)
        ):
            raise UsageError(
                f"an output of shape {list(array.shape)} does not hold scores of classes, which are [1, classes].",
                hint="name the output that does with --output-name, or use --task tensor",
            )
        scores = scores.reshape(-1)
        activation = self.config.activation
        with np.errstate(over="ignore", invalid="ignore"):
            if len(scores) == 1:
                positive = scores[0] if activation == "probabilities" else 1 / (1 + np.exp(-scores[0]))
                return np.array([1 - positive, positive])
            if activation == "probabilities" or (
                activation is None and (scores >= 0).all() and abs(scores.sum() - 1) < 1e-3
            ):
                return scores
            powers = np.exp(scores - scores.max())
            return np.asarray(powers / powers.sum())


@dataclass(frozen=True, eq=False)
class MultiLabel(OnePart):
    """Any number of classes for a sample: those with a probability above one half. It has no metric here."""

    problem: ClassVar[Problem] = "several-labels"

    config: TaskConfig
    prepare: Preparation
    classes: Classes
    metric: str | None = None
    compares_top: bool = True

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        scores = self._probabilities(outputs)
        return Prediction(tuple(bool(score > 0.5) for score in scores), scores)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        scores = self._probabilities(outputs)
        order = (-scores).argsort(kind="stable")
        chosen = [self.classes.name(int(index)) for index in order if scores[index] > 0.5]
        top = [{"label": self.classes.name(int(index)), "score": float(scores[index])} for index in order[:TOP]]
        return {"labels": chosen, "top": top}

    def label(self, raw: Any) -> Any:
        return raw

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        raise UsageError(
            "a model of several labels at once has no metric here: its answers are compared.",
            hint="leave out --metric, or give a function of your own: --metric package.module:function",
        )

    def _probabilities(self, outputs: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        import numpy as np

        rows = [output_of(outputs, self.config.output, place).reshape(-1) for place in range(len(outputs))]
        with np.errstate(over="ignore"):
            return np.asarray(np.mean(1 / (1 + np.exp(-np.stack(rows).astype(np.float64))), axis=0))


@dataclass(frozen=True, eq=False)
class Regression(OnePart):
    """One number, such as a cross-encoder's similarity of a pair."""

    problem: ClassVar[Problem] = "numbers"

    config: TaskConfig
    prepare: Preparation
    metric: str | None
    compares_top: bool = False

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the number, of a long sound the mean over its windows. Raises UsageError for an output of several."""
        arrays = [output_of(outputs, self.config.output, place) for place in range(len(outputs))]
        if arrays[0].size != 1:
            raise UsageError(
                f"an output of shape {list(arrays[0].shape)} is not one number, which {self.metric} needs.",
                hint="for a classifier use --metric accuracy",
            )
        return Prediction(sum(float(array.reshape(())) for array in arrays) / len(arrays))

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        return {"value": self.predict(outputs).value}

    def label(self, raw: Any) -> float:
        return number(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        assert self.metric is not None
        return metrics.score(self.metric, predictions, labels)


def number(raw: Any) -> float:
    """Return a label that is a number, or text of one, as a float. Raises UsageError for another label."""
    try:
        return float(raw)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the label '{raw}' is not a number, which a correlation needs.",
            hint="name the column with --label-column; for a classifier with one output use --metric accuracy or auc",
        ) from error
