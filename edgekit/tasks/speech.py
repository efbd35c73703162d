"""Voice activity: a model takes a sound step by step, and its probabilities become the times of speech."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError
from edgekit.tasks import metrics
from edgekit.tasks.audio import Sounds, step_seconds
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.speech_config import SpeechConfig
from edgekit.tasks.task import OnePart, Prediction
from edgekit.tasks.tensor import output_of

if TYPE_CHECKING:
    import numpy as np

METRICS = ("auc", "accuracy", "f1")
"""Of the steps of all sounds, each judged by whether its middle is in speech."""


@dataclass(frozen=True, eq=False)
class Speech(OnePart):
    """The times of speech in a sound."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True

    config: TaskConfig
    prepare: Sounds
    metric: str

    @property
    def seconds(self) -> float:
        """The time of a step."""
        return step_seconds(self.prepare.config)

    @property
    def settings(self) -> SpeechConfig:
        return self.prepare.config.speech or SpeechConfig()

    def probabilities(self, outputs: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Return the probability of speech at each step, float64 [steps]. Raises UsageError for outputs that are not
        one score or those of two classes, and for a score beyond 0 and 1 that is not named a logit.
        """
        import numpy as np

        rows = [output_of(outputs, self.config.output, place).reshape(-1) for place in range(len(outputs))]
        sizes = {row.size for row in rows}
        if not sizes <= {1} and not sizes <= {2}:
            raise UsageError(
                f"an output of {max(sizes)} values at a step is not the probability of speech.",
                hint='name the output that is with --output-name; for classes give task = "audio-classification"',
            )
        scores = np.stack(rows).astype(np.float64)
        with np.errstate(over="ignore"):
            if scores.shape[1] == 2:
                logits = self.config.activation != "probabilities"
                return 1 / (1 + np.exp(scores[:, 0] - scores[:, 1])) if logits else scores[:, 1]
            if self.config.activation == "logits":
                return np.asarray(1 / (1 + np.exp(-scores[:, 0])))
        if scores.min() < -1e-3 or scores.max() > 1 + 1e-3:
            raise UsageError(
                f"a score of speech is {scores.min() if scores.min() < 0 else scores.max():.3g}, not a probability.",
                hint='for logits write activation = "logits" in the description that --processor names',
            )
        return np.clip(scores[:, 0], 0.0, 1.0)

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        scores = self.probabilities(outputs)
        return Prediction(tuple((scores >= self.settings.threshold).tolist()), scores, several=True)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        scores, seconds = self.probabilities(outputs), self.seconds
        segments = [
            {
                "start": round(first * seconds, 3),
                "end": round(end * seconds, 3),
                "score": float(scores[first:end].mean()),
            }
            for first, end in segments_of(scores.tolist(), self.settings, seconds)
        ]
        spoken = sum(segment["end"] - segment["start"] for segment in segments)
        return {"speech": segments, "seconds": round(spoken, 3), "of": round(len(scores) * seconds, 3)}

    def label(self, raw: Any) -> tuple[tuple[float, float], ...]:
        """Return the times of speech in seconds. Raises UsageError for a label that is not pairs of begin and end."""
        try:
            pairs = json.loads(raw) if isinstance(raw, str) else raw
            return tuple((float(begin), float(end)) for begin, end in pairs)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the label '{str(raw)[:60]}' does not hold the times of speech.",
                hint="write pairs of begin and end in seconds, as [[0.5, 1.75], [2.0, 3.1]]; [] without speech",
            ) from error

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        import numpy as np

        scores: list[float] = []
        truths: list[int] = []
        for prediction, times in zip(predictions, labels, strict=True):
            assert prediction.scores is not None
            middles = (np.arange(len(prediction.scores)) + 0.5) * self.seconds
            scores += prediction.scores.tolist()
            truths += [int(any(begin <= middle < end for begin, end in times)) for middle in middles]
        if self.metric == "auc":
            return metrics.auc(scores, truths)
        values = [int(score >= self.settings.threshold) for score in scores]
        return metrics.accuracy(values, truths) if self.metric == "accuracy" else metrics.f1(values, truths)


def segments_of(scores: Sequence[float], settings: SpeechConfig, seconds: float) -> list[tuple[int, int]]:
    """Return the first step of each speech and the one after its last, for steps of so many seconds."""
    segments: list[tuple[int, int]] = []
    first = last = None
    for place, score in enumerate(scores):
        if score >= settings.threshold and first is None:
            first = last = place
        elif first is not None and score >= settings.release:
            last = place
        elif first is not None and last is not None and (place - last) * seconds >= settings.silence:
            segments.append((first, last + 1))
            first = last = None
    if first is not None and last is not None:
        segments.append((first, last + 1))
    return [(begin, end) for begin, end in segments if (end - begin) * seconds >= settings.shortest]
