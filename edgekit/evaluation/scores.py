"""How the scores of a model move: an artifact whose metric holds while its confidences fall breaks what compares them
with a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit.evaluation import channels
from edgekit.result.quality import ANSWERS, Decisions, OutputDeviation, ScoreShift, Spread
from edgekit.tasks.task import Prediction

if TYPE_CHECKING:
    import numpy as np

THRESHOLDS = (0.5, 0.9)

MOVED, KEPT = 0.05, 0.95
"""A mean that moved by more, or a smaller share of decisions that stay, is named at the verdict."""


@dataclass
class _Series:
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    decisions: dict[float, list[int]] = field(default_factory=lambda: {limit: [0, 0, 0] for limit in THRESHOLDS})


@dataclass(frozen=True)
class _Chosen:
    """The part of an output that holds scores."""

    name: str
    axis: int | None = None
    channels: np.ndarray | None = None

    def of(self, array: np.ndarray) -> np.ndarray:
        return array if self.axis is None or self.channels is None else array.take(self.channels, self.axis)


def _scores_in(name: str, array: np.ndarray) -> _Chosen | None:
    """Return the part of an output whose values are scores, by the first sample; None where it has none."""
    if array.dtype.kind != "f":
        return None
    if _between_0_and_1(array):
        return _Chosen(name)
    axes: dict[int, channels.Channels] = {}
    square = array.astype("float64") ** 2
    channels.add(axes, array, (square,) * 4, first=True)
    axis, groups = channels.groups(axes, 0.0)
    for group in groups:
        part = OutputDeviation(name, 0.0, 1.0, axis, channels.ranges(group))
        chosen = _Chosen(part.name, axis, group)
        if _between_0_and_1(chosen.of(array)):
            return chosen
    return None


def _between_0_and_1(array: np.ndarray) -> bool:
    return not array.size or (float(array.min()) >= 0 and float(array.max()) <= 1)


class Scores:
    """The scores of the original and of a candidate, sample by sample.

    Of a task with classes they are the probabilities of its answers. Elsewhere they are the outputs of floats whose
    values are all between 0 and 1 in the original, and those that a channel group of such values makes.
    """

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}
        self._chosen: dict[str, _Chosen | None] = {}

    def add(
        self,
        truth: Prediction,
        prediction: Prediction,
        expected: Sequence[Mapping[str, np.ndarray]],
        outputs: Sequence[Mapping[str, np.ndarray]],
    ) -> None:
        """Add one sample: the answers, and the outputs of its calls."""
        if truth.scores is not None and prediction.scores is not None:
            self._add_answer(truth, prediction)
            return
        for original, output in zip(expected, outputs, strict=True):
            for name, array in original.items():
                if name not in self._chosen:
                    self._chosen[name] = _scores_in(name, array)
                chosen = self._chosen[name]
                if chosen is None:
                    continue
                if not _between_0_and_1(chosen.of(array)):
                    self._chosen[name] = None
                    self._series.pop(chosen.name, None)
                    continue
                self._add(chosen.name, chosen.of(array), chosen.of(output[name]))

    def _add_answer(self, truth: Prediction, prediction: Prediction) -> None:
        before, after = truth.scores, prediction.scores
        assert before is not None and after is not None
        series = self._series.setdefault(ANSWERS, _Series())
        series.before.append(float(before.max()))
        series.after.append(float(after.max()))
        for limit, counts in series.decisions.items():
            first, second = before >= limit, after >= limit
            for place, chosen in enumerate((first, second, first & second)):
                counts[place] += int(chosen.sum())

    def _add(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        series = self._series.setdefault(name, _Series())
        series.before.append(float(before.max(initial=0.0)))
        series.after.append(float(after.max(initial=0.0)))
        for limit, counts in series.decisions.items():
            first, second = before >= limit, after >= limit
            both = int((first & second).sum()) if first.shape == second.shape else min(first.sum(), second.sum())
            for place, count in enumerate((first.sum(), second.sum(), both)):
                counts[place] += int(count)

    def shifts(self) -> tuple[ScoreShift, ...]:
        """Return how each kind of scores moved."""
        return tuple(
            ScoreShift(
                name,
                _spread(series.before),
                _spread(series.after),
                tuple(
                    Decisions(limit, *counts) for limit, counts in series.decisions.items() if counts[0] or counts[1]
                ),
            )
            for name, series in self._series.items()
            if series.before and max(series.before) > 0
        )


def notes(shifts: Sequence[ScoreShift]) -> tuple[str, ...]:
    """Return a note for each kind of scores that moved so far that a threshold on them decides otherwise."""
    moved = []
    for shift in shifts:
        worst = min(shift.decisions, key=lambda each: each.share, default=None)
        far = abs(shift.after.mean - shift.before.mean) > MOVED
        if far or (worst is not None and worst.share < KEPT):
            moved.append(f"the scores moved: {shift}; set thresholds anew, or choose a candidate that keeps them")
    return tuple(moved)


def _spread(values: Sequence[float]) -> Spread:
    import numpy as np

    low, high = np.percentile(values, (10, 90))
    return Spread(float(np.mean(values)), float(low), float(high))
