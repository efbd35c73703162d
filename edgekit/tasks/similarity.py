"""Embeddings: one inference for each text; the value of a pair is the cosine of its two vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError
from edgekit.tasks import metrics
from edgekit.tasks.classification import number
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.task import OnePart, Prediction, Preparation
from edgekit.tasks.tensor import output_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Embedding(OnePart):
    """A vector for each text or picture."""

    problem: ClassVar[Problem] = "outputs"

    config: TaskConfig
    prepare: Preparation
    metric: str | None
    padded: bool = False
    """Inputs are padded, so that a mean over tokens would include the padding."""
    compares_top: bool = False

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        if len(outputs) != 2:
            return Prediction(None)
        return Prediction(_cosine(self._vector(outputs, 0), self._vector(outputs, 1)))

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        if len(outputs) == 2:
            return {"similarity": self.predict(outputs).value}
        vector = self._vector(outputs, 0)
        return {"dimensions": len(vector), "embedding": [float(value) for value in vector]}

    def label(self, raw: Any) -> float:
        return number(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        assert self.metric is not None
        return metrics.score(self.metric, predictions, labels)

    def _vector(self, outputs: Sequence[Mapping[str, np.ndarray]], index: int) -> np.ndarray:
        """Return the vector of call `index`, float64 [dimensions]; token vectors [1, tokens, dimensions] are
        averaged.
        """
        import numpy as np

        array = np.asarray(output_of(outputs, self.config.output, index), dtype=np.float64)
        if array.ndim == 2 and array.shape[0] == 1:
            return np.asarray(array[0])
        if array.ndim == 3 and array.shape[0] == 1 and not self.padded:
            return np.asarray(array[0].mean(axis=0))
        why = " and the inputs are padded, so that no mean of them is the text's" if array.ndim == 3 else ""
        raise UsageError(
            f"the output has shape {list(array.shape)}, not [1, dimensions]{why}.",
            hint="export the model with its pooling (the whole sentence-transformers folder)",
        )


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    import numpy as np

    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
