"""Question answering: the span of a context that answers a question. Long contexts are read in windows."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError, listed
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.span_config import SpanConfig
from edgekit.tasks.task import OnePart, Prediction
from edgekit.tasks.text import IDS, Texts

if TYPE_CHECKING:
    import numpy as np

METRICS = ("f1", "exact-match")

_CONTEXT = 1
"""The number of the context among the texts of a pair: the question is the first."""


@dataclass(frozen=True)
class _Span:
    score: float
    """The probability among all spans of all windows."""
    start: int
    end: int
    """Places in the context, in characters; equal for a question without an answer."""


@dataclass(frozen=True, eq=False)
class QuestionAnswering(OnePart):
    """The likeliest span of the context: the greatest sum of a start's and an end's logits."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True
    reads_every_output: ClassVar[bool] = True

    config: TaskConfig
    prepare: Texts
    metric: str

    @property
    def span(self) -> SpanConfig:
        return self.config.span or SpanConfig()

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the answer's text; of token ids, whose text is unknown, the window and its first and last token."""
        if sample is None or IDS in sample.fields:
            return Prediction(tuple(int(self._logits(call, name).argmax()) for call in outputs for name in self._names))
        span = self._best(outputs, sample)
        return Prediction(self._context(sample)[span.start : span.end])

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return the answer with its place in the context, in characters, and its probability among all spans."""
        if sample is None or IDS in sample.fields:
            raise UsageError(
                "an answer cannot be read from token ids alone.",
                hint="give the texts: edgekit run BUNDLE 'the question' 'the context'",
            )
        span = self._best(outputs, sample)
        text = self._context(sample)[span.start : span.end]
        return {"answer": text, "score": span.score, "start": span.start, "end": span.end}

    def label(self, raw: Any) -> tuple[str, ...]:
        return answers(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        scores = exact if self.metric == "exact-match" else token_f1
        values = [
            max(scores(str(prediction.value), text) for text in label or ("",))
            for prediction, label in zip(predictions, labels, strict=True)
        ]
        return sum(values) / len(values)

    def _context(self, sample: Sample) -> str:
        return self.prepare.texts(sample)[_CONTEXT]

    @property
    def _names(self) -> tuple[str, str]:
        return self.span.start, self.span.end

    def _logits(self, outputs: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """Return the logits [tokens] of one output. Raises UsageError where it is missing or has another shape."""
        import numpy as np

        if name not in outputs:
            raise UsageError(
                f"the model has no output '{name}', and its answer's start and end are needed.",
                hint=f"its outputs: {listed(outputs)}; give --task tensor to compare them alone",
            )
        array = np.asarray(outputs[name], dtype=np.float64)
        return array.reshape(-1)

    def _best(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample) -> _Span:
        """Return the likeliest span of all windows."""
        import numpy as np

        windows = self.prepare.windows(self.prepare.texts(sample))
        best, place, empty = -np.inf, (0, 0), np.inf
        total = -np.inf
        for window, call in zip(windows, outputs, strict=True):
            start, end = (self._logits(call, name)[: len(window.ids)] for name in self._names)
            empty = min(empty, float(start[0] + end[0]))
            inside = [number for number, text in enumerate(window.sequence_ids) if text == _CONTEXT]
            inside = [number for number in inside if window.offsets[number][1] > window.offsets[number][0]]
            if not inside:
                continue
            sums = start[inside][:, None] + end[inside][None, :]
            # A span ends where it starts or later, and is not longer than an answer may be.
            sums = np.where(np.triu(np.tri(len(inside), k=self.span.longest - 1, dtype=bool)), sums, -np.inf)
            total = np.logaddexp(total, np.logaddexp.reduce(sums, axis=None))
            if sums.max() > best:
                first, last = np.unravel_index(int(sums.argmax()), sums.shape)
                best = float(sums.max())
                place = window.offsets[inside[int(first)]][0], window.offsets[inside[int(last)]][1]
        if self.span.may_be_empty:
            total = np.logaddexp(total, empty)
            if empty > best:
                best, place = empty, (0, 0)
        return _Span(float(np.exp(best - total)) if np.isfinite(total) else 0.0, *place)


def normalized(text: str) -> str:
    """Return a text as SQuAD's evaluation compares it: small letters, without punctuation and articles."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact(answer: str, truth: str) -> float:
    """Return 1.0 where two answers are the same once normalized, else 0.0."""
    return float(normalized(answer) == normalized(truth))


def token_f1(answer: str, truth: str) -> float:
    """Return F1 of the words of two answers, each word as often as it occurs (Rajpurkar et al., SQuAD, 2016)."""
    ours, theirs = normalized(answer).split(), normalized(truth).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def is_empty(raw: Any) -> bool:
    """Return whether a label states that the context has no answer."""
    return not any(answers(raw))


def answers(raw: Any) -> tuple[str, ...]:
    """Return the texts that are right answers: a text, a list of them, or SQuAD's `answers`; none, or an empty text,
    where the context has no answer. Raises UsageError for a label of another form.
    """
    if isinstance(raw, Mapping):
        raw = raw.get("text", raw)
    if isinstance(raw, str):
        return (raw,)
    if isinstance(raw, (list, tuple)):
        items = [each.get("text") if isinstance(each, Mapping) else each for each in raw]
        texts = tuple(item for item in items if isinstance(item, str))
        if len(texts) == len(items):
            return texts
    if hasattr(raw, "tolist"):
        return answers(raw.tolist())
    raise UsageError(
        f"the label '{str(raw)[:60]}' is not an answer.", hint="give a text, a list of texts, or SQuAD's answers"
    )
