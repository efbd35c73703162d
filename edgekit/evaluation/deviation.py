"""The difference between two sets of outputs: each output by itself, and in one tensor the groups of channels whose
magnitudes differ.

A number over everything is blind: boxes in pixels outweigh scores between 0 and 1 by a million. So the sums are kept
for each output and each of its channels, and what counts is the worst part.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.evaluation import channels
from edgekit.evaluation.free_sizes import FIXED, FreeSizes
from edgekit.result.quality import OutputDeviation

if TYPE_CHECKING:
    import numpy as np

PREFIX = 4
"""For so many of the first samples the deviation is kept as well: as many may travel with a bundle."""

ROUNDING = 1e-4
"""A part of an output below this share of the output's magnitude (an output: of the greatest output's, at most of 1) is
measured by that share. Single precision leaves 1.2e-7 of the larger values that it was computed from, and with a limit
of 1e-3 this share allows an error of 1e-7: noise in a near-zero output is not a broken export.
"""

NOISE = 1e-6
"""Below this share of that magnitude the values are rounding: they have no direction that could be compared."""

NORMALIZED = 0.02
"""Values between -1 and 1 (scores, activations) that are a part of a larger tensor are weighed as if they reached this:
int8 resolves 1/255 of such a range, and a class that never scores has nothing to lose.
"""


EXACT = "biuOSU"
"""numpy's kinds of whole numbers, truth values and text: values of these are equal or they are not."""


@dataclass
class _Sums:
    """Sums of squares of the difference, the original and the candidate, and their product: numbers, or one a
    channel.
    """

    error: Any = 0.0
    original: Any = 0.0
    candidate: Any = 0.0
    product: Any = 0.0
    count: Any = 0

    def add(self, other: _Sums) -> None:
        self.error = self.error + other.error
        self.original = self.original + other.original
        self.candidate = self.candidate + other.candidate
        self.product = self.product + other.product
        self.count = self.count + other.count

    def of(self, chosen: np.ndarray) -> _Sums:
        """Return the sums over some of the channels."""
        each = (self.error, self.original, self.candidate, self.product)
        error, original, candidate, product = (float(values[chosen].sum()) for values in each)
        return _Sums(error, original, candidate, product, self.count * len(chosen))

    @property
    def magnitude(self) -> float:
        """Return the original's root mean square."""
        return math.sqrt(self.original / self.count) if self.count else 0.0

    def relative(self, least: float = 0.0) -> float:
        """Return the relative L2 difference; the original is taken to have at least the magnitude `least`."""
        reference = max(self.original, least**2 * self.count)
        return math.sqrt(self.error / reference) if reference else math.sqrt(self.error)

    def cosine(self, least: float = 0.0) -> float:
        """Return the cosine, after a component that both share has brought the original up to the magnitude `least`."""
        shared = max(0.0, least**2 * self.count - self.original)
        norms = math.sqrt((self.original + shared) * (self.candidate + shared))
        if norms:
            return float((self.product + shared) / norms)
        return 1.0 if self.original == self.candidate else 0.0


@dataclass
class _Output:
    """What was added of one output."""

    total: _Sums = field(default_factory=_Sums)
    calls: list[_Sums] = field(default_factory=list)
    axes: dict[int, channels.Channels] = field(default_factory=dict)
    exact: bool = False
    equal: int = 0
    values: int = 0
    resized: int = 0


@dataclass
class Deviation:
    """The difference between two sets of outputs, accumulated call by call."""

    max_abs: float = 0.0
    finite: bool = True
    _everything: _Sums = field(default_factory=_Sums)
    _least: float = 1.0
    _outputs: dict[str, _Output] = field(default_factory=dict)
    _calls: int = 0
    _varying: set[str] = field(default_factory=set)
    _prefixes: list[Deviation] = field(default_factory=list)

    @property
    def rel_l2(self) -> float:
        """||candidate - original|| / ||original|| of the worst part."""
        return math.inf if not self.finite else max(self.pooled, *(part.rel_l2 for part in self.parts()), 0.0)

    @property
    def cosine(self) -> float:
        """The least cosine of any part."""
        return min(self._least, *(part.cosine for part in self.parts()), 1.0)

    @property
    def worst(self) -> str:
        """The name of the part with the least cosine; empty where it is the one of all outputs together."""
        part = min(self.parts(), key=lambda part: part.cosine, default=None)
        return part.name if part is not None and part.cosine < self._least else ""

    @property
    def pooled(self) -> float:
        """The relative L2 difference over all outputs together."""
        return self._everything.relative() if self.finite else math.inf

    def add(
        self,
        original: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        sizes: FreeSizes = FIXED,
    ) -> None:
        """Add the outputs of one inference.

        Raises UsageError where names differ, or the shape of an output whose size does not follow the data.
        """
        import numpy as np

        if set(original) != set(outputs):
            raise UsageError(f"the outputs are {sorted(outputs)}, the original's are {sorted(original)}.")
        pairs = {name: (np.asarray(values), np.asarray(outputs[name])) for name, values in original.items()}
        for name, (a, b) in pairs.items():
            if a.shape != b.shape and (name not in sizes.resizable or a.ndim != b.ndim):
                raise UsageError(f"the output '{name}' has shape {list(b.shape)}, the original's is {list(a.shape)}.")
        self._calls += 1
        self._varying |= sizes.varying
        call = _Sums()
        for name, (a, b) in pairs.items():
            output = self._outputs.setdefault(name, _Output())
            if a.shape != b.shape:
                output.resized += 1
            elif a.dtype.kind in EXACT or b.dtype.kind in EXACT:
                output.exact = True
                output.equal += int((a == b).sum())
                output.values += a.size
            else:
                self._add_floats(output, a.astype(np.float64), b.astype(np.float64), call)
            if b.dtype.kind == "f" and not np.isfinite(b).all():
                self.finite = False
        self._everything.add(call)
        if call.original or call.candidate:
            self._least = min(self._least, call.cosine())

    def _add_floats(self, output: _Output, a: np.ndarray, b: np.ndarray, call: _Sums) -> None:
        import numpy as np

        if not np.isfinite(b).all():
            return
        difference = b - a
        self.max_abs = max(self.max_abs, float(np.abs(difference).max(initial=0.0)))
        squares = (difference**2, a**2, b**2, a * b)
        error, square_a, square_b, product = (float(each.sum()) for each in squares)
        sums = _Sums(error, square_a, square_b, product, a.size)
        call.add(sums)
        output.total.add(sums)
        output.calls.append(sums)
        channels.add(output.axes, a, squares, first=len(output.calls) == 1)

    def sample_ends(self) -> None:
        """Keep the deviation after each of the first samples."""
        if len(self._prefixes) < PREFIX:
            kept = copy.copy(self)
            kept._prefixes = []
            kept._outputs = copy.deepcopy(self._outputs)
            kept._everything = copy.copy(self._everything)
            self._prefixes.append(kept)

    def parts(self, known: Iterable[OutputDeviation] | None = None) -> tuple[OutputDeviation, ...]:
        """Return the deviation of each output and of each group of channels; with `known`, of those parts."""
        greatest = max((output.total.magnitude for output in self._outputs.values()), default=0.0)
        parts = []
        for wanted in self._chosen() if known is None else known:
            parts.append(self._part(self._outputs.get(wanted.output, _Output()), wanted, greatest))
        return tuple(parts)

    def _chosen(self) -> list[OutputDeviation]:
        chosen = []
        for name, output in self._outputs.items():
            chosen.append(OutputDeviation(name, 0.0, 1.0))
            axis, groups = channels.groups(output.axes, NOISE * output.total.magnitude)
            chosen += [OutputDeviation(name, 0.0, 1.0, axis, channels.ranges(group)) for group in groups]
        return chosen

    def _part(self, output: _Output, part: OutputDeviation, greatest: float) -> OutputDeviation:
        if part.axis is None:
            whole = self._whole(output, part.output, min(1.0, greatest))
            varies = output.resized or part.output in self._varying
            return replace(whole, resized=output.resized, calls=self._calls) if varies else whole
        scale = output.total.magnitude
        along = output.axes.get(part.axis)
        if along is None or along.size < max(stop for _, stop in part.channels):
            return OutputDeviation(part.output, 0.0, 1.0, part.axis, part.channels)
        chosen = channels.indices(part.channels)
        sums = along.sums(_Sums).of(chosen)
        normalized = float(along.peak[chosen].max()) <= 1
        weighed = NORMALIZED * min(1.0, float(along.peak.max())) if normalized else NOISE * scale
        return OutputDeviation(
            part.output, sums.relative(ROUNDING * scale), sums.cosine(weighed), part.axis, part.channels
        )

    def _whole(self, output: _Output, name: str, scale: float) -> OutputDeviation:
        """Return the deviation of a whole output beside outputs of the magnitude `scale`."""
        if output.exact:
            equal = output.equal / output.values if output.values else 1.0
            return OutputDeviation(name, 1 - equal, equal, exact=True)
        return OutputDeviation(name, output.total.relative(ROUNDING * scale), self._least_cosine(output, NOISE * scale))

    def _least_cosine(self, output: _Output, noise: float) -> float:
        """Return the least cosine of an output over all calls, and over each.

        A call in which the output is quieter than it usually is, is weighed by its usual magnitude: what a detector
        answers for a picture of nothing is not worth less than what it answers elsewhere. Of a model with one output
        `_least` has each call as it is.
        """
        total = output.total
        if max(total.original, total.candidate) <= noise**2 * total.count:
            return 1.0
        least = total.cosine()
        if len(self._outputs) > 1:
            usual = total.original / len(output.calls)
            for call in output.calls:
                if call.count:
                    least = min(least, call.cosine(math.sqrt(usual / call.count)))
        return least

    def with_stored(self) -> tuple[OutputDeviation, ...]:
        """Return the parts with what they deviate on the first samples."""
        parts = self.parts()
        prefixes = [prefix.parts(parts) for prefix in self._prefixes]
        stored = [max((each[place].rel_l2 for each in prefixes), default=0.0) for place in range(len(parts))]
        return tuple(replace(part, stored=most) for part, most in zip(parts, stored, strict=True))
