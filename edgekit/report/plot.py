"""Small drawings as inline SVG: widths are percentages and heights are pixels, so that text keeps its size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit._reading import guard, inside, read_text
from edgekit.errors import UsageError

BINS = 80
HEIGHT = 44
"""Pixels of a histogram."""


def bar(p50: float, p90: float | None, longest: float, *, kind: str) -> str:
    """Return the bar of a latency, with a whisker to the p90; `kind` is best, bar or out."""
    width = 100 * p50 / longest
    reach = 100 * (p90 if p90 is not None else p50) / longest
    return (
        f'<svg height="14" role="img" aria-label="p50 {p50:.3g} ms"><rect class="{kind}" '
        f'width="{max(width, 0.4):.2f}%" height="12" y="1" rx="2"/>'
        f'<line class="whisker" x1="{width:.2f}%" x2="{reach:.2f}%" y1="7" y2="7"/>'
        f'<line class="whisker" x1="{reach:.2f}%" x2="{reach:.2f}%" y1="3" y2="11"/></svg>'
    )


def share(part: float, most: float) -> str:
    """Return a bar with the percentage of a share, 0 to 1; the bar of the share `most` has the full width."""
    return (
        f'<svg height="14" role="img" aria-label="{100 * part:.1f} percent"><rect class="bar" y="1" height="12" rx="2" '
        f'width="{max(100 * part / most, 0.4):.1f}%"/><text x="4" y="11" class="over">{100 * part:.1f}%</text></svg>'
    )


def histogram(values: Sequence[float], low: float, high: float, *, kind: str) -> str:
    """Return the histogram of `values` between `low` and `high`, on a logarithmic axis; others are left out."""
    counts = [0] * BINS
    for value in values:
        if low <= value <= high:
            counts[min(BINS - 1, int(place(value, low, high) * BINS))] += 1
    most = max(counts) or 1
    step = 100 / BINS
    rects = "".join(
        f'<rect x="{i * step:.3f}%" y="{HEIGHT - h:.1f}" width="{step * 0.9:.3f}%" height="{h:.1f}"/>'
        for i, count in enumerate(counts)
        if count and (h := max(1.0, HEIGHT * count / most))
    )
    baseline = f'<line class="axis" x1="0" x2="100%" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    return f'<svg height="{HEIGHT + 2}" role="img" aria-label="histogram"><g class="{kind}">{rects}</g>{baseline}</svg>'


def axis(low: float, high: float) -> str:
    """Return the axis below histograms, in milliseconds."""
    marks = "".join(
        f'<text x="{100 * place(tick, low, high):.2f}%" y="14" text-anchor="middle">{tick:g} ms</text>'
        for tick in ticks(low, high)
    )
    return f'<svg height="18" aria-hidden="true">{marks}</svg>'


@dataclass(frozen=True)
class Dot:
    """A candidate in a scatter plot: its place in both directions, 0 to 1 from left and bottom, and its mark."""

    x: float
    y: float
    label: str
    kind: str
    """best, bar or out."""
    front: bool
    title: str


LEFT, RIGHT = 12.0, 97.0
"""Percent of a scatter plot's width between which its dots are; the numbers of the vertical axis are left of them."""

SCATTER = 220
"""Height of a scatter plot in pixels, without its horizontal axis."""


def scatter(
    dots: Sequence[Dot], x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], title: str
) -> str:
    """Return a scatter plot of numbered dots, filled on the Pareto front, with the line of the front as far as it shows
    in these two directions.
    """
    lines = "".join(
        f'<line class="axis" x1="{LEFT}%" x2="100%" y1="{_down(at):.1f}" y2="{_down(at):.1f}"/>'
        f'<text x="{LEFT - 1}%" y="{_down(at) + 4:.1f}" text-anchor="end">{words}</text>'
        for at, words in y_ticks
    )
    lines += "".join(
        f'<line class="axis" x1="{_across(at):.2f}%" x2="{_across(at):.2f}%" y1="0" y2="{SCATTER}"/>'
        f'<text x="{_across(at):.2f}%" y="{SCATTER + 16}" text-anchor="middle">{words}</text>'
        for at, words in x_ticks
    )
    edge = staircase([(dot.x, dot.y) for dot in dots if dot.front])
    for (x1, y1), (x2, y2) in itertools.pairwise(edge):
        lines += (
            f'<line class="front" x1="{_across(x1):.2f}%" x2="{_across(x2):.2f}%" y1="{_down(y1):.1f}" '
            f'y2="{_down(y2):.1f}"/>'
        )
    marks = "".join(
        f'<g class="dot {dot.kind}{"" if dot.front else " off"}"><title>{dot.title}</title>'
        f'<circle cx="{_across(dot.x):.2f}%" cy="{_down(dot.y):.1f}" r="9"/>'
        f'<text x="{_across(dot.x):.2f}%" y="{_down(dot.y) + 4:.1f}" text-anchor="middle">{dot.label}</text></g>'
        for dot in sorted(dots, key=lambda dot: (dot.front, dot.kind == "best"))
    )
    return f'<svg height="{SCATTER + 22}" role="img" aria-label="{title}">{lines}{marks}</svg>'


COLOURS = 4
"""Number of line colours in the style sheet; a fifth line has the first one's again."""

CHART = 90
"""Height of a line chart in pixels, without its horizontal axis."""


@dataclass(frozen=True)
class Line:
    """Values over time, None where one is missing; with a band from `low` to `high` where these are given."""

    name: str
    times: Sequence[float]
    """Seconds."""
    values: Sequence[float | None]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def lines(drawn: Sequence[Line], last_s: float, title: str) -> str:
    """Return a chart from 0 to `last_s` seconds, whose axis holds all values but the greatest 5% of the band."""
    known = [value for line in drawn for value in (*line.values, *line.low) if value is not None]
    bands = sorted(value for line in drawn for value in line.high)
    known += bands[: max(1, math.ceil(0.95 * len(bands)))]
    low, high = min(known), max(known)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad if low < 0 or low - pad > 0 else 0.0, high + pad
    up = _even(low, high, 4) or [low, high]
    words = "".join(
        f'<line class="axis" x1="{LEFT}%" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 1}%" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in up
        if 4 <= (y := CHART * (1 - (tick - low) / (high - low))) <= CHART
    )
    words += "".join(
        f'<text x="{LEFT + (100 - LEFT) * tick / last_s:.2f}%" y="{CHART + 15}" text-anchor="middle">{tick:g} s</text>'
        for tick in _even(0, last_s, 4)
    )
    shapes = "".join(_shapes(line, place % COLOURS, low, high, last_s) for place, line in enumerate(drawn))
    # The inner drawing is stretched to the available width; its strokes and the words outside of it are not.
    inner = (
        f'<svg x="{LEFT}%" y="0" width="{100 - LEFT}%" height="{CHART}" viewBox="0 0 1000 {CHART}" '
        f'preserveAspectRatio="none" class="stretched">{shapes}</svg>'
    )
    base = f'<line class="axis" x1="{LEFT}%" x2="100%" y1="{CHART}" y2="{CHART}"/>'
    return f'<svg height="{CHART + 20}" role="img" aria-label="{title} over time">{words}{base}{inner}</svg>'


def _shapes(line: Line, colour: int, low: float, high: float, last_s: float) -> str:
    def point(time: float, value: float) -> str:
        down = CHART * (1 - (min(max(value, low), high) - low) / (high - low))
        return f"{1000 * time / last_s:.1f},{down:.1f}"

    band = ""
    if line.low and line.high:
        edge = [point(*pair) for pair in zip(line.times, line.high, strict=True)]
        edge += [point(*pair) for pair in zip(reversed(line.times), reversed(line.low), strict=True)]
        band = f'<polygon class="band line{colour}" points="{" ".join(edge)}"/>'
    parts: list[list[str]] = [[]]
    for time, value in zip(line.times, line.values, strict=True):
        if value is None:
            parts.append([])
        else:
            parts[-1].append(point(time, value))
    return band + "".join(
        f'<polyline class="line{colour}" points="{" ".join(part)}"/>' for part in parts if len(part) > 1
    )


def staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the line that has no point below and left of it, from left to right."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if corners and y >= corners[-1][1]:
            continue
        corners += [(x, corners[-1][1])] if corners else []
        corners.append((x, y))
    return corners


def _across(x: float) -> float:
    # Room for the discs of the outermost dots on both sides.
    return LEFT + (0.05 + 0.9 * x) * (RIGHT - LEFT)


def _down(y: float) -> float:
    return (0.94 - 0.88 * y) * SCATTER


def place(value: float, low: float, high: float) -> float:
    """Return the place of a value on the axis, 0 to 1: logarithmic, so that 0.2 ms and 20 ms can both be read."""
    if not (high > low > 0 and value > 0):
        return 0.5
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` round numbers within the inner part of the axis, so that no label is cut at an edge."""
    if not high > low > 0:
        return [low]
    decades = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for factors in ((1, 2, 5), (1, 3), (1,)):
        chosen = [float(f"{d * f:.6g}") for d in decades for f in factors if 0.06 <= place(d * f, low, high) <= 0.94]
        if 2 <= len(chosen) <= most:
            return chosen
    return _even(low, high, most) if high / low < 10 else chosen[:: -(-len(chosen) // most)]


def _even(low: float, high: float, most: int) -> list[float]:
    """Return evenly spaced round numbers: a narrow range has too few multiples of 1, 2 and 5."""
    span = high - low
    step = 10 ** math.floor(math.log10(span / most))
    for factor in (1, 2, 5, 10, 20):
        first = math.ceil((low + 0.06 * span) / (step * factor))
        last = math.floor((high - 0.06 * span) / (step * factor))
        if last - first < most:
            return [float(f"{n * step * factor:.6g}") for n in range(first, last + 1)]
    return []


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values are below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def read_latencies(folder: Path | None, file: str | None) -> list[float]:
    """Return raw latencies in ms from a report's file of nanoseconds, .npy or a number a line; empty where there is
    none. Raises UsageError for one that is damaged or outside the report's folder.
    """
    if folder is None or not file:
        return []
    hint = "give a report with the latencies that were written with it"
    if not inside(folder, file):
        raise UsageError(f"the latencies '{file}' are not in the report's folder '{folder}'.", hint=hint)
    path = folder / file
    with guard(f"the latencies in '{file[:100]}'", hint=hint):
        if not path.exists():
            return []
    if path.suffix == ".npy":
        import numpy as np

        with guard(f"the latencies in '{path}'", hint=hint):
            return [float(value) for value in np.load(path, allow_pickle=False) / 1e6]
    text = read_text(path, "the latencies", hint=hint)
    with guard(f"the latencies in '{path}'", hint=hint):
        return [int(line) / 1e6 for line in text.split()]
