"""What a candidate's outputs are judged by: each output by itself, groups of its channels, and how scores moved."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record

ANSWERS = "answers"
"""The name of the scores behind a task's own answers."""


@dataclass(frozen=True)
class OutputDeviation(Record):
    """How far one output, or a group of its channels, is from the original's over all samples."""

    output: str
    rel_l2: float
    """For an output of whole numbers, truth values or text: the share of values that differ."""
    cosine: float
    """The least over samples, for a group of channels that over all samples; for an output of whole numbers, truth
    values or text: the share of equal values."""
    axis: int | None = None
    """The axis of the channels; None for the whole output."""
    channels: tuple[tuple[int, int], ...] = ()
    """The group's channels as ranges, start and stop."""
    exact: bool = False
    """Whether its values are compared for equality."""
    resized: int = 0
    """Calls in which the output had another size than the original's, where its size follows the data. They are not
    part of the other numbers."""
    calls: int = 0
    """All calls, where the output's size follows the data."""
    stored: float | None = None
    """The relative L2 difference on the samples that travel with a bundle: the greatest of the first one, the first
    two, and so on."""

    @property
    def name(self) -> str:
        """Return the output's name, with the channels as an index: `output0[:, 4:7]`."""
        if self.axis is None:
            return self.output
        ranges = [f"{start}:{stop}" if stop - start > 1 else str(start) for start, stop in self.channels]
        shown = ", ".join(ranges[:4]) + (", ..." if len(ranges) > 4 else "")
        return f"{self.output}[{':, ' * self.axis}{shown if len(ranges) == 1 else f'[{shown}]'}]"


@dataclass(frozen=True)
class Spread(Record):
    """The top scores of all samples: their mean, and the tenth and ninetieth percentile."""

    mean: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Decisions(Record):
    """The decisions at a threshold: how many scores reach it in the original, in the candidate, and in both."""

    threshold: float
    before: int
    after: int
    kept: int

    @property
    def share(self) -> float:
        """Return the share of the original's decisions that stay; 1 where there are none."""
        return self.kept / self.before if self.before else 1.0


@dataclass(frozen=True)
class ScoreShift(Record):
    """How the scores of a model moved: probabilities of classes, or an output whose values are between 0 and 1."""

    name: str
    before: Spread
    after: Spread
    decisions: tuple[Decisions, ...]

    def __str__(self) -> str:
        name = "" if self.name == ANSWERS else f" in '{self.name}'"
        words = (
            f"mean top score{name} {self.before.mean:.3f} before, {self.after.mean:.3f} after "
            f"(p10 {self.before.p10:.3f} and {self.after.p10:.3f}, p90 {self.before.p90:.3f} and {self.after.p90:.3f})"
        )
        for each in self.decisions:
            words += f"; {each.share:.1%} of {each.before} decisions at {each.threshold:g} stay" if each.before else ""
            if new := each.after - each.kept:
                words += f", {new} are new" if each.before else f"; {new} new decisions at {each.threshold:g}"
        return words
