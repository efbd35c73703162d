"""How a measurement went, drawn over its time: latency, and what the sensors said beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import accumulate

from edgekit.report import candidates, figures, plot
from edgekit.result.latency_block import SHARES, Turn
from edgekit.result.measurement import UNITS, Measurement
from edgekit.result.report import Report

HINT = (
    "The line is the median latency of each stretch of the measurement, the band reaches from its fastest to its "
    "slowest tenth. Sensors are read beside it."
)
LEAST = 3
"""Points that a line needs."""


def render(report: Report) -> str:
    """Return the drawings of every candidate whose turns, windows or sensors are kept; nothing where there are none."""
    blocks = []
    for candidate in candidates.ordered(report):
        drawn = _charts(candidate.measurement) if candidate.measurement else ""
        if drawn:
            name = escape(figures.clean(candidate.name))
            blocks.append(
                f'<div class="candidate"><div class="head"><span class="name">{name}</span></div>{drawn}</div>'
            )
    return f'<p class="hint">{HINT}</p>' + "".join(blocks) if blocks else ""


def _latency(found: Measurement) -> list[plot.Line]:
    if found.sustained and len(found.sustained.windows) >= LEAST:
        windows = found.sustained.windows
        return [plot.Line("p50", [one.start_s + one.seconds / 2 for one in windows], [one.p50_ms for one in windows])]
    turns = found.turns
    if len(turns) < LEAST:
        return []
    ends = accumulate(turn.seconds for turn in turns)
    times = [end - turn.seconds / 2 for end, turn in zip(ends, turns, strict=True)]
    low, middle, high = ([_share(turn, share) for turn in turns] for share in (0.1, 0.5, 0.9))
    return [plot.Line("p50", times, middle, low=low, high=high)]


def _charts(found: Measurement) -> str:
    """Draw the latency and each quantity that was read, on one axis of time."""
    charts = [("latency, ms", _latency(found))]
    sensors = found.sensors
    for quantity, unit in UNITS.items() if sensors else ():
        known = [one for one in sensors.of(quantity) if len(one.known) >= LEAST] if sensors else []
        charts.append(
            (f"{quantity}, {unit}", [plot.Line(figures.clean(one.name), _times(found), one.values) for one in known])
        )
    last = max((line.times[-1] for _, lines in charts for line in lines), default=0.0)
    absent = "; ".join(f"{name}: {reason}" for name, reason in sensors.absent.items()) if sensors else ""
    note = f'<p class="hint">{escape(f"not read: {figures.clean(absent)}")}</p>' if absent else ""
    drawn = "".join(_chart(title, lines, last) for title, lines in charts if lines)
    return drawn + note if drawn else ""


def _times(found: Measurement) -> tuple[float, ...]:
    return found.sensors.times_s if found.sensors else ()


def _chart(title: str, lines: Sequence[plot.Line], last_s: float) -> str:
    keys = "".join(
        f'<span class="key line{place % plot.COLOURS}">{escape(line.name)}</span>' for place, line in enumerate(lines)
    )
    key = f'<span class="figures">{keys}</span>' if len(lines) > 1 else ""
    return (
        f'<div class="chart"><div class="head"><span class="hint">{escape(title)}</span>{key}</div>'
        f"{plot.lines(lines, last_s, escape(title))}</div>"
    )


def _share(turn: Turn, share: float) -> float:
    """Return the latency that stands for a share of a turn."""
    if turn.count <= len(SHARES):
        return turn.latencies_ms[min(turn.count - 1, int(share * turn.count))]
    reached = list(accumulate(SHARES))
    return turn.latencies_ms[next(place for place, end in enumerate(reached) if end >= share - 1e-9)]
