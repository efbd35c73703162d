"""Scatter plots of what a faster candidate costs: latency against lost quality, and against size, with the front."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from edgekit.report import candidates, figures, plot
from edgekit.result.report import Candidate, Quality, Report

HINT = (
    "Filled dots are on the Pareto front: no other candidate is as good in latency, size, memory and quality, and "
    "better in one of them. The line is the front as far as it shows in the two measures drawn. Left and below are "
    "better."
)

LEAST_LOSS = 0.1
"""Least length of the axis of lost quality, in points: a negligible loss must look negligible."""


@dataclass(frozen=True)
class _Entry:
    """A measured candidate and the number that labels it."""

    number: int
    candidate: Candidate
    p50_ms: float
    size_mb: float
    lost: float


def render(report: Report) -> str:
    """Return both plots and the key to their numbers; empty where fewer than two candidates were measured."""
    entries = _entries(report)
    if len(entries) < 2:
        return ""
    most = max(LEAST_LOSS, *(entry.lost for entry in entries))
    losses = [at for at in (0, 0.1, 0.3, 1, 3, 10, 30, 100) if at <= most] + ([most] if most < LEAST_LOSS else [])
    # The axis is a square root, so that tenths of a point can be distinguished where another candidate lost fifty.
    lost_ticks = [(math.sqrt(at / most), f"{at:g}") for at in losses if at == 0 or at > most / 60]
    lost_title = f"{_measure(report)} (up) against p50 latency in ms"
    place_size, size_ticks = _logarithmic([entry.size_mb for entry in entries])
    panels = (
        _panel(lost_title, entries, lambda entry: math.sqrt(entry.lost / most), lost_ticks),
        _panel("size in MB (up) against p50 latency in ms", entries, place_size, size_ticks),
    )
    key = "".join(
        f"<span><b>{entry.number}</b> {escape(figures.clean(entry.candidate.name))}</span>" for entry in entries
    )
    drawn = "".join(f'<div><p class="hint">{escape(title)}</p>{svg}</div>' for title, svg in panels)
    return f'<p class="hint">{HINT}</p><div class="panels">{drawn}</div><div class="figures">{key}</div>'


def _entries(report: Report) -> list[_Entry]:
    complete = []
    for candidate in candidates.ordered(report):
        measured, quality = candidate.measurement, candidate.quality
        if measured and quality and candidate.size_mb and math.isfinite(quality.rel_l2):
            complete.append((candidate, measured.p50_ms, candidate.size_mb, _lost(quality)))
    return [_Entry(number, *values) for number, values in enumerate(complete, 1)]


def _lost(quality: Quality) -> float:
    """Return the loss in points of the metric, or in hundredths of the agreement or of the cosine; 0 for a gain."""
    if quality.drop is not None:
        return max(0.0, 100 * quality.drop)
    return 100 * (1 - (quality.cosine if quality.agreement is None else quality.agreement))


def _measure(report: Report) -> str:
    quality = next(c.quality for c in report.candidates if c.quality)
    if quality.drop is not None:
        return f"{quality.metric} lost in points"
    return "cosine lost in hundredths" if quality.agreement is None else "top-1 disagreement in %"


def _logarithmic(values: list[float]) -> tuple[Callable[[_Entry], float], list[tuple[float, str]]]:
    """Return the function that places a size on its logarithmic axis, and the ticks of the axis."""
    low, high = min(values), max(values)
    ticks = [(plot.place(tick, low, high), f"{tick:g}") for tick in plot.ticks(low, high)]
    return lambda entry: plot.place(entry.size_mb, low, high), ticks


def _panel(
    title: str, entries: list[_Entry], height: Callable[[_Entry], float], ticks: list[tuple[float, str]]
) -> tuple[str, str]:
    low, high = min(entry.p50_ms for entry in entries), max(entry.p50_ms for entry in entries)
    dots = [
        plot.Dot(
            plot.place(entry.p50_ms, low, high),
            height(entry),
            str(entry.number),
            _kind(entry.candidate),
            entry.candidate.front,
            escape(f"{figures.clean(entry.candidate.name)}: {figures.ms(entry.p50_ms)}, {figures.mb(entry.size_mb)}"),
        )
        for entry in entries
    ]
    across = [(plot.place(tick, low, high), f"{tick:g}") for tick in plot.ticks(low, high)]
    return title, plot.scatter(dots, across, ticks, escape(title))


def _kind(candidate: Candidate) -> str:
    if candidate.status == "shipped":
        return "best"
    return "bar" if candidate.status in ("passed", "baseline") else "out"
