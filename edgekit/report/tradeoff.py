"""What a faster candidate costs, drawn: latency against lost quality, and against size, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from edgekit.report import candidates, figures, plot
from edgekit.result.report import Candidate, Quality, Report

HINT = (
    "Filled dots are on the Pareto front: no other candidate is as good in latency, size, memory and quality, and "
    "better in one. The line is the front as far as it shows in the two measures drawn. Left and below is better."
)

LEAST_LOSS = 0.1
"""Points that the axis of lost quality shows at least: what is nearly nothing must look like nothing."""


@dataclass(frozen=True)
class _Shown:
    """A measured candidate with the number that stands for it."""

    number: int
    candidate: Candidate
    p50_ms: float
    size_mb: float
    lost: float


def render(report: Report) -> str:
    """Return both drawings and the key to their numbers; nothing where fewer than two candidates were measured."""
    shown = _shown(report)
    if len(shown) < 2:
        return ""
    most = max(LEAST_LOSS, *(one.lost for one in shown))
    losses = [at for at in (0, 0.1, 0.3, 1, 3, 10, 30, 100) if at <= most] + ([most] if most < LEAST_LOSS else [])
    # A root, so that tenths of a point are told apart where another candidate lost fifty.
    lost_ticks = [(math.sqrt(at / most), f"{at:g}") for at in losses if at == 0 or at > most / 60]
    panels = (
        _panel(f"{_measure(report)} (up) against p50 latency in ms", shown, lambda one: math.sqrt(one.lost / most),
               lost_ticks),
        _panel("size in MB (up) against p50 latency in ms", shown, *_logarithmic([one.size_mb for one in shown])),
    )  # fmt: skip
    key = "".join(f"<span><b>{one.number}</b> {escape(figures.clean(one.candidate.name))}</span>" for one in shown)
    drawn = "".join(f'<div><p class="hint">{escape(title)}</p>{svg}</div>' for title, svg in panels)
    return f'<p class="hint">{HINT}</p><div class="panels">{drawn}</div><div class="figures">{key}</div>'


def _shown(report: Report) -> list[_Shown]:
    found = []
    for candidate in candidates.ordered(report):
        measured, quality = candidate.measurement, candidate.quality
        if measured and quality and candidate.size_mb and math.isfinite(quality.rel_l2):
            found.append((candidate, measured.p50_ms, candidate.size_mb, _lost(quality)))
    return [_Shown(number, *values) for number, values in enumerate(found, 1)]


def _lost(quality: Quality) -> float:
    """Return the loss in points of the metric, or in hundredths of the agreement or of the cosine; a gain is none."""
    if quality.drop is not None:
        return max(0.0, 100 * quality.drop)
    return 100 * (1 - (quality.cosine if quality.agreement is None else quality.agreement))


def _measure(report: Report) -> str:
    found = next(c.quality for c in report.candidates if c.quality)
    if found.drop is not None:
        return f"{found.metric} lost in points"
    return "cosine lost in hundredths" if found.agreement is None else "answers that are not the original's in %"


def _logarithmic(values: list[float]) -> tuple[Callable[[_Shown], float], list[tuple[float, str]]]:
    """Return where a size lies on its axis, and the ticks of the axis."""
    low, high = min(values), max(values)
    ticks = [(plot.place(tick, low, high), f"{tick:g}") for tick in plot.ticks(low, high)]
    return lambda one: plot.place(one.size_mb, low, high), ticks


def _panel(
    title: str, shown: list[_Shown], height: Callable[[_Shown], float], ticks: list[tuple[float, str]]
) -> tuple[str, str]:
    low, high = min(one.p50_ms for one in shown), max(one.p50_ms for one in shown)
    dots = [
        plot.Dot(
            plot.place(one.p50_ms, low, high),
            height(one),
            str(one.number),
            _kind(one.candidate),
            one.candidate.front,
            escape(f"{figures.clean(one.candidate.name)}: {figures.ms(one.p50_ms)}, {figures.mb(one.size_mb)}"),
        )
        for one in shown
    ]
    across = [(plot.place(tick, low, high), f"{tick:g}") for tick in plot.ticks(low, high)]
    return title, plot.scatter(dots, across, ticks, escape(title))


def _kind(candidate: Candidate) -> str:
    if candidate.status == "shipped":
        return "best"
    return "bar" if candidate.status in ("passed", "baseline") else "out"
