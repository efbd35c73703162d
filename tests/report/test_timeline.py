"""What the page draws over time, latency and sensors on one axis; and layers by their share."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from edgekit.plugin import LayerTime
from edgekit.report import html, layers, plot, timeline
from edgekit.result.latency_block import SHARES, LatencyBlock
from edgekit.result.measurement import Sensors, Series, Sustained, Throttle, Window
from tests.report.test_report import plain
from tests.wording import mentions


def measured(report, **changes):
    shipped = report.shipped
    changed = replace(shipped, measurement=replace(shipped.measurement, **changes))
    return replace(report, candidates=tuple(changed if c is shipped else c for c in report.candidates))


TURNS = tuple(LatencyBlock(n, 3, 0.5, (1.0 + n, 2.0 + n, 3.0 + n)) for n in range(6))
SENSORS = Sensors(
    0.5,
    (0.0, 1.0, 2.0, 3.0, 6.0),
    (
        Series("cpu-thermal", "temperature", (50.0, 51.0, 52.0, 53.0, 54.0)),
        Series("policy0", "clock", (2400.0, None, 1800.0, 1800.0, 1800.0)),
        Series("policy4", "clock", (1500.0, 1500.0, 1500.0, 1500.0, 1500.0)),
        Series("VDD_IN", "power", (None, None, None, 5.0, None)),
    ),
    absent={"memory": "no /proc/meminfo"},
)


def points(drawing: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'<polyline [^>]*points="([^"]*)"', drawing)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]


def test_nothing_is_drawn_for_a_report_without_blocks(report):
    assert timeline.render(report) == ""
    assert "Over time" not in html.render(report)


def test_latency_is_drawn_by_blocks(report):
    drawing = timeline.render(measured(report, turns=TURNS))
    (line,) = points(drawing)
    assert len(line) == len(TURNS)
    assert [x for x, _ in line] == pytest.approx([1000 * (0.25 + 0.5 * n) / 2.75 for n in range(6)], abs=0.1)
    assert [y for _, y in line] == sorted((y for _, y in line), reverse=True), "higher is slower"
    assert drawing.count("<polygon") == 1


def test_sensors_share_the_axis_of_time(report):
    drawing = timeline.render(measured(report, turns=TURNS, sensors=SENSORS))
    latency, temperature, first_clock, last_clock = points(drawing)
    assert max(x for x, _ in latency) == pytest.approx(1000 * 2.75 / 6, abs=0.1)
    assert temperature[-1][0] == last_clock[-1][0] == 1000
    assert len(first_clock) == 3, "what could not be read breaks the line; a point alone is none"
    words = plain(drawing)
    assert mentions(words, "latency, ms", "temperature, °C", "clock, MHz", "policy0", "policy4", ("memory", "/proc"))
    assert "power" not in words, "one value is not a course"


def test_a_sustained_run_is_drawn_by_its_windows(report):
    windows = tuple(Window(60.0 * n, 60.0, 1000, 2.0 + 0.1 * n) for n in range(5))
    drawing = timeline.render(measured(report, turns=TURNS, sustained=Sustained(windows, 60.0, 2.0, 2.4)))
    (line,) = points(drawing)
    assert len(line) == 5 and "<polygon" not in drawing


def test_hostile_names_of_sensors_stay_text(report):
    evil = replace(SENSORS, series=tuple(replace(series, name="<script>x") for series in SENSORS.series))
    assert "<script" not in html.render(measured(report, turns=TURNS, sensors=evil))


def test_a_share_of_a_block():
    many = LatencyBlock(0, 500, 1.0, tuple(range(1, len(SHARES) + 1)))
    assert timeline._share(many, 0.5) == next(n for n, _ in enumerate(SHARES, 1) if sum(SHARES[:n]) >= 0.5 - 1e-9)
    assert timeline._share(TURNS[0], 0.5) == 2.0


@pytest.mark.parametrize("values", [(5.0, 5.0, 5.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 2.0), (1e-6, 2e-6, 1e3)])
def test_any_values_can_be_drawn(values):
    drawing = plot.lines([plot.Line("x", (0.0, 1.0, 2.0), values)], 2.0, "x")
    ((_, *_),) = points(drawing)
    assert all(0 <= y <= plot.CHART for line in points(drawing) for _, y in line)
    assert "nan" not in drawing


def test_layers_are_shown_by_their_share(report):
    timed = tuple(LayerTime(f"layer{n}", "MatMul", "i8", 0.1 * n) for n in range(1, 40))
    shipped = replace(report.shipped, layers=timed)
    ((title, rows),) = layers.profiles(replace(report, candidates=(shipped,)))
    assert title.startswith(f"Slowest layers of {shipped.name}: 24 of 39, ")
    assert rows[0][0] == pytest.approx(39 / sum(range(1, 40))) and rows[0][4] == "layer39"
    page = html.render(replace(report, candidates=(shipped,)))
    assert page.count('<td class="share">') == 24 and f"{100 * rows[0][0]:.1f}%" in page


@pytest.mark.parametrize("kind", ["export", "bench"])
def test_the_page_shows_scenario_and_sensors(kind, report):
    throttle = Throttle("throttled", ("the firmware capped the clock",))
    drawn = replace(measured(report, sensors=SENSORS, throttle=throttle), kind=kind)
    if kind == "bench":
        drawn = replace(drawn, candidates=tuple(replace(c, status="passed") for c in drawn.candidates if c.measurement))
    page = html.render(drawn)
    words = plain(page)
    assert mentions(words, "THROTTLED", ("firmware", "clock")) and 'class="warn"' in page
    assert mentions(words, "no power sensor")
    assert "cpu-thermal 50.0 to 54.0 °C" in words
