"""Speech recognition by CTC: one graph gives the scores of each frame, of which greedy decoding makes text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.tasks import text_metrics
from edgekit.tasks.config import CtcConfig, TaskConfig
from edgekit.tasks.task import OnePart, Prediction, Preparation
from edgekit.tasks.tensor import output_of

if TYPE_CHECKING:
    import numpy as np

METRIC = "wer"


def decode(scores: np.ndarray, config: CtcConfig) -> str:
    """Return the text of scores [frames, tokens]."""
    ids = scores.argmax(axis=-1).tolist()
    kept = [each for place, each in enumerate(ids) if not place or each != ids[place - 1]]
    tokens = [config.tokens[each] for each in kept if each != config.blank and each < len(config.tokens)]
    return "".join(" " if token == config.space else token for token in tokens).strip()


@dataclass(frozen=True, eq=False)
class Ctc(OnePart):
    """The words of a sound; those of a long one window by window."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True

    config: TaskConfig
    prepare: Preparation
    vocabulary: CtcConfig
    metric: str = METRIC

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        texts = [
            decode(output_of(outputs, self.config.output, place)[0], self.vocabulary) for place in range(len(outputs))
        ]
        return Prediction(" ".join(filter(None, texts)))

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        return {"text": self.predict(outputs).value}

    def label(self, raw: Any) -> str:
        return str(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        return text_metrics.score(self.metric, [str(prediction.value) for prediction in predictions], labels)
