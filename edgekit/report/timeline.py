"""Charts of a measurement over its time: the latency, and the readings of the sensors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import accumulate

from edgekit.report import candidates, figures, plot
from edgekit.result.latency_block import SHARES, LatencyBlock
from edgekit.result.measurement import UNITS, Measurement
from edgekit.result.report import Report

HINT = (
    "The line is the median latency of each block of the measurement, the band reaches from its fastest to its "
    "slowest tenth. Sensors are read meanwhile."
)
LEAST = 3
"""Points that a line needs."""


def render(report: Report) -> str:
    """Return the charts of every candidate whose blocks, windows or sensors are kept; empty where there are none."""
    blocks = []
    for candidate in candidates.ordered(report):
        drawn = _charts(candidate.measurement) if candidate.measurement else ""
        if drawn:
            name = escape(figures.clean(candidate.name))
            blocks.append(
                f'<div class="candidate"><div class="head"><span class="name">{name}</span></div>{drawn}</div>'
            )
    return f'<p class="hint">{HINT}</p>' + "".join(blocks) if blocks else ""


def _latency(measured: Measurement) -> list[plot.Line]:
    if measured.sustained and len(measured.sustained.windows) >= LEAST:
        windows = measured.sustained.windows
        middles = [window.start_s + window.seconds / 2 for window in windows]
        return [plot.Line("p50", middles, [window.p50_ms for window in windows])]
    blocks = measured.turns
    if len(blocks) < LEAST:
        return []
    ends = accumulate(block.seconds for block in blocks)
    times = [end - block.seconds / 2 for end, block in zip(ends, blocks, strict=True)]
    low, middle, high = ([_share(block, share) for block in blocks] for share in (0.1, 0.5, 0.9))
    return [plot.Line("p50", times, middle, low=low, high=high)]


def _charts(measured: Measurement) -> str:
    """Return charts of the latency and of each quantity that was read, on one axis of time."""
    charts = [("latency, ms", _latency(measured))]
    sensors = measured.sensors
    for quantity, unit in UNITS.items() if sensors else ():
        known = [series for series in sensors.of(quantity) if len(series.known) >= LEAST] if sensors else []
        lines = [plot.Line(figures.clean(series.name), _times(measured), series.values) for series in known]
        charts.append((f"{quantity}, {unit}", lines))
    last = max((line.times[-1] for _, lines in charts for line in lines), default=0.0)
    absent = "; ".join(f"{name}: {reason}" for name, reason in sensors.absent.items()) if sensors else ""
    note = f'<p class="hint">{escape(f"not read: {figures.clean(absent)}")}</p>' if absent else ""
    drawn = "".join(_chart(title, lines, last) for title, lines in charts if lines)
    return drawn + note if drawn else ""


def _times(measured: Measurement) -> tuple[float, ...]:
    return measured.sensors.times_s if measured.sensors else ()


def _chart(title: str, lines: Sequence[plot.Line], last_s: float) -> str:
    keys = "".join(
        f'<span class="key line{place % plot.COLOURS}">{escape(line.name)}</span>' for place, line in enumerate(lines)
    )
    key = f'<span class="figures">{keys}</span>' if len(lines) > 1 else ""
    return (
        f'<div class="chart"><div class="head"><span class="hint">{escape(title)}</span>{key}</div>'
        f"{plot.lines(lines, last_s, escape(title))}</div>"
    )


def _share(block: LatencyBlock, share: float) -> float:
    """Return the latency that `share` of a block's latencies are below."""
    if block.count <= len(SHARES):
        return block.latencies_ms[min(block.count - 1, int(share * block.count))]
    reached = list(accumulate(SHARES))
    return block.latencies_ms[next(place for place, end in enumerate(reached) if end >= share - 1e-9)]
