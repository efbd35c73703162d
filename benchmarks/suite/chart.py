"""The picture of a page: quality against latency, or latency alone where nothing is judged. Plain SVG, no library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edgekit.report.plot import place, ticks
from suite import tools
from suite.table import Page, Row

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 78, 30, 104, 62
CHARACTER = 6.6
"""Width of a label's character in pixels, at its size of 12; labels are kept apart by it."""
BELOW = 3.0
"""How many times what is allowed may be lost before a point is drawn at the floor, with its value beside it."""

STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f;
  paint-order: stroke; stroke: #fff; stroke-opacity: .8; stroke-width: 3px }
.title { font-size: 17px; font-weight: 600 } .soft { fill: #6e7781 } .line { stroke: #d0d7de; fill: none }
.gate { stroke: #bc4c00; stroke-dasharray: 5 4; fill: none } .gatetext { fill: #bc4c00 }
.missed { fill: #fff1e5 } .peer { fill: #57789c } .miss { fill: #fff; stroke: #bc4c00; stroke-width: 1.6 }
.ours { fill: #1a7f37 } .oursname { fill: #1a7f37; font-weight: 700 } .base { fill: #24292f }
.leader { stroke: #8c959f; stroke-width: .7 }
"""


@dataclass(frozen=True)
class Box:
    """A rectangle that a label or a point takes."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: Box) -> bool:
        apart_x = self.x + self.width <= other.x or other.x + other.width <= self.x
        return not (apart_x or self.y + self.height <= other.y or other.y + other.height <= self.y)


def draw(page: Page) -> str:
    """Draw a page's rows that were timed."""
    rows = [row for row in page.rows if row.p50_ms is not None]
    judged = [row for row in rows if row.score is not None]
    if not rows:
        return _frame(page, HEIGHT, "nothing was measured", "")
    if page.metric and judged:
        return _frame(page, HEIGHT, _legend(page), _scatter(page, judged))
    return _frame(page, TOP + BOTTOM + 30 * len(rows), "random weights: speed only, nothing is judged", _bars(rows))


def _scatter(page: Page, rows: Sequence[Row]) -> str:
    low, high = _range([row.p50_ms for row in rows], 1.25)
    original = max(row.score + row.drop for row in rows)
    gate = original - page.allowed
    top = max(row.score for row in rows) + 0.8 * page.allowed
    lost = any(row.score < gate for row in rows)
    floor = gate - (BELOW if lost else 0.8) * page.allowed
    down = HEIGHT - BOTTOM

    def x(value: float) -> float:
        return LEFT + place(value, low, high) * (WIDTH - LEFT - RIGHT)

    def y(score: float) -> float:
        return down - (max(score, floor) - floor) / (top - floor) * (down - TOP - 14) - 14

    parts = [
        f'<rect class="missed" x="{LEFT}" y="{y(gate):.1f}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{down - y(gate):.1f}"/>',
        _x_axis(rows, low, high, x, down),
        _y_axis(page, floor, top, y),
        f'<path class="gate" d="M{LEFT} {y(gate):.1f}H{WIDTH - RIGHT}"/>',
        f'<text class="gatetext" x="{WIDTH - RIGHT - 4}" y="{y(gate) + 15:.1f}" text-anchor="end">'
        f"below: more than {page.allowed:g} lost</text>",
    ]
    points = [(row, x(row.p50_ms), y(row.score)) for row in rows]
    points.sort(key=lambda point: (point[0].tool != tools.OURS, point[0].passes is False, point[1]))
    taken = [Box(px - 8, py - 8, 16, 16) for _, px, py in points]
    taken += [Box(WIDTH - RIGHT - 160, y(gate) + 3, 160, 16), Box(LEFT, y(gate) - 1, WIDTH - LEFT - RIGHT, 2)]
    return "".join(parts) + "".join(_point(row, px, py, floor, taken) for row, px, py in points)


def _point(row: Row, px: float, py: float, floor: float, taken: list[Box]) -> str:
    kind = _kind(row)
    caption = f"{row.title}, {row.score:.3f}" if row.score < floor else row.title
    mark = f'<circle class="{kind}" cx="{px:.1f}" cy="{py:.1f}" r="{8 if kind == "ours" else 6}"/>'
    if row.score < floor:
        mark = f'<path class="{kind}" d="M{px - 7:.1f} {py - 5:.1f}h14l-7 12z"/>'
    box = _free(px, py, len(caption) * CHARACTER + 4, taken)
    taken.append(box)
    name = "oursname" if kind == "ours" else "label"
    text = f'<text class="{name}" x="{box.x:.1f}" y="{box.y + 12:.1f}">{escape(caption)}</text>'
    near = abs(box.y + 8 - py) < 12 and (abs(box.x - px) < 16 or abs(box.x + box.width - px) < 16)
    end = min(max(px, box.x), box.x + box.width)
    edge = box.y if box.y > py else box.y + box.height - 2
    leader = "" if near else f'<path class="leader" d="M{px:.1f} {py:.1f}L{end:.1f} {edge:.1f}"/>'
    facts = f"{row.title}: p50 {row.p50_ms:.3g} ms, {row.score:.4f}"
    return f"<g><title>{escape(facts)}</title>{leader}{mark}{text}</g>"


def _free(px: float, py: float, width: float, taken: Sequence[Box]) -> Box:
    """Find a place for a label: beside its point, else the nearest above or below that is free and inside."""
    for shift in (0, -16, 16, -32, 32, -48, 48, -64, 64, -80, 80, -96, 96, -128, 128, -160, 160):
        for left in (px + 12, px - 12 - width, px - width / 2):
            box = Box(left, py - 8 + shift, width, 15)
            inside = left >= LEFT + 2 and left + width <= WIDTH - 4 and box.y >= TOP and box.y + 16 <= HEIGHT - BOTTOM
            if inside and not any(box.meets(other) for other in taken):
                return box
    return Box(max(LEFT + 2, min(px + 12, WIDTH - width - 4)), py - 8, width, 15)


def _bars(rows: Sequence[Row]) -> str:
    """Draw a bar for each latency, the shortest first, with the ratio to ONNX Runtime fp32."""
    ranked = sorted(rows, key=lambda row: row.p50_ms)
    longest = ranked[-1].p50_ms
    left, parts = 290, []
    room = WIDTH - left - RIGHT - 130
    for number, row in enumerate(ranked):
        y = TOP + 30 * number
        length = max(2.0, room * row.p50_ms / longest)
        kind = _kind(row)
        name = "oursname" if kind == "ours" else "label"
        ratio = f" · {row.speed.ratio:.2f}x" if row.speed else ""
        parts.append(
            f'<text class="{name}" x="{left - 10}" y="{y + 15}" text-anchor="end">{escape(row.title)}</text>'
            f'<rect class="{kind}" x="{left}" y="{y + 2}" width="{length:.1f}" height="18" rx="3"/>'
            f'<text x="{left + length + 8:.1f}" y="{y + 15}">{row.p50_ms:.3g} ms{ratio}</text>'
        )
    note = TOP + 30 * len(ranked) + 26
    parts.append(f'<text class="soft" x="{left}" y="{note}">p50 latency, and speed against ONNX Runtime fp32</text>')
    return "".join(parts)


def _x_axis(rows: Sequence[Row], low: float, high: float, x, down: float) -> str:
    parts = [f'<path class="line" d="M{LEFT} {down}H{WIDTH - RIGHT}"/>']
    for tick in ticks(low, high, most=7):
        parts.append(f'<path class="line" d="M{x(tick):.1f} {TOP}V{down}"/>')
        parts.append(f'<text class="soft" x="{x(tick):.1f}" y="{down + 18}" text-anchor="middle">{tick:g} ms</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="soft" x="{middle}" y="{down + 42}" text-anchor="middle">p50 latency, faster to the left</text>'
    )
    base = next((row.p50_ms for row in rows if row.tool == tools.BASELINE), None)
    for times in (0.25, 0.5, 1, 2, 4, 8) if base else ():
        at = base / times
        if low < at < high:
            parts.append(f'<path class="line" d="M{x(at):.1f} {TOP}v6"/>')
            parts.append(f'<text class="soft" x="{x(at):.1f}" y="{TOP - 6}" text-anchor="middle">{times:g}x</text>')
    return "".join(parts)


def _y_axis(page: Page, floor: float, top: float, y) -> str:
    step = page.allowed
    parts = [f'<path class="line" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}"/>']
    for number in range(int(top / step) + 1):
        score = number * step
        if floor < score < top:
            digits = 3 if step < 0.01 else 2
            parts.append(
                f'<text class="soft" x="{LEFT - 8}" y="{y(score) + 4:.1f}" text-anchor="end">{score:.{digits}f}</text>'
            )
    parts.append(f'<text class="soft" x="{LEFT - 8}" y="{TOP - 6}" text-anchor="end">{page.metric}</text>')
    return "".join(parts)


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    return min(values) / margin, max(values) * margin


def _kind(row: Row) -> str:
    if row.tool == tools.OURS:
        return "ours"
    if row.passes is False:
        return "miss"
    return "base" if row.tool == tools.BASELINE else "peer"


def _legend(page: Page) -> str:
    host = page.environment["host"]
    machine = host.get("cpu") or host.get("arch")
    return f"{machine}, {page.threads} threads, batch 1; above the frame: speed against ONNX Runtime fp32"


def _frame(page: Page, height: int, line: str, inner: str) -> str:
    ours = page.row(tools.OURS)
    caption = ""
    if ours is not None and ours.p50_ms is not None and ours.speed is not None:
        quality = f", {page.metric} {ours.score:.4f}" if ours.score is not None else ""
        caption = f"edgekit: {ours.p50_ms:.3g} ms, {ours.speed.ratio:.2f}x as fast as ONNX Runtime fp32{quality}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(page.summary)}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>'
        f'<text class="title" x="24" y="32">{escape(page.summary)}</text>'
        f'<text class="oursname" x="24" y="53">{escape(caption)}</text>'
        f'<text class="soft" x="24" y="72">{escape(line)}</text>{inner}</svg>\n'
    )
