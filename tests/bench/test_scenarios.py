"""The scenarios, on models whose time is known: they sleep. Real processes, short runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit import sensors
from edgekit.bench import Settings, Workload, benchmark, schedule
from edgekit.errors import UnsupportedError, UsageError
from edgekit.report import conditions
from edgekit.result.measurement import Measurement
from edgekit.sensors import SensorSet
from edgekit.spec import TensorSpec
from tests.measuring import undisturbed
from tests.wording import mentions, raises

FIXTURES = Path(__file__).parent.parent / "fixtures" / "sensors"
SHORT = Settings(
    min_seconds=0.6, min_count=11, max_seconds=3, round_ms=50, lead_in_ms=2, warmup_min_seconds=0,
    warmup_max_seconds=0.3, cold_start=False,
)  # fmt: skip


def words(measurement: Measurement) -> str:
    return "\n".join(f"{what}: {text}" for what, text, _ in conditions.lines(measurement))


@pytest.mark.alone
def test_a_camera_that_is_kept_up_with(entry):
    def check(outcome):
        measurement = outcome.measurement
        assert measurement.scenario == "fixed-rate" and measurement.count == 20
        assert measurement.throughput_per_s == pytest.approx(20, rel=0.05), "the schedule's, not what it could do"
        assert not measurement.pace.overloaded and 0.1 <= measurement.pace.busy_share < 0.9
        assert measurement.pace.service_p50_ms >= 5 and measurement.p50_ms >= measurement.pace.service_p50_ms
        assert measurement.pace.missed == (outcome.latencies_ns > 200e6).sum()

    settings = replace(SHORT, scenario="fixed-rate", rate_per_s=20, deadline_ms=200, min_seconds=1)
    undisturbed(lambda: benchmark([entry(sleep_ms=5)], settings), check)


def test_a_camera_that_is_too_fast_is_an_overload(entry):
    settings = replace(SHORT, scenario="fixed-rate", rate_per_s=100, min_seconds=0.5)
    (outcome,) = benchmark([entry(sleep_ms=20)], settings)
    measurement = outcome.measurement
    assert measurement.pace.overloaded and measurement.pace.busy_share >= 2
    assert measurement.pace.deadline_ms == 10 and measurement.pace.missed >= measurement.count, "every answer was late"
    assert outcome.latencies_ns[10] >= 100e6 + 20e6, "the eleventh waited for ten, each 10 ms slower than the schedule"
    assert mentions(words(measurement), "OVERLOADED")


def test_cameras_are_interleaved_in_long_rounds(entry):
    settings = replace(SHORT, scenario="fixed-rate", rate_per_s=50, min_seconds=1)
    outcomes = benchmark([entry("first", sleep_ms=2), entry("second", sleep_ms=4)], settings)
    assert all(outcome.ok and min(timed.seconds for timed in outcome.rounds) >= 0.99 for outcome in outcomes)


@pytest.mark.alone
def test_offline_counts_samples_of_batches_and_streams(entry, feeds):
    plain = entry(sleep_ms=10)
    part = plain.payload.part
    free = replace(part, inputs=(TensorSpec.parse("x:f32[n,64]"),), outputs=(TensorSpec.parse("y:f32[n,8]"),))
    fed = {"x": np.repeat(feeds["x"], 4, axis=0)}
    batched = replace(plain, payload=replace(plain.payload, part=free), feeds=fed, batch=4)

    def measured():
        streams = (replace(SHORT, scenario="offline"), replace(SHORT, scenario="offline", streams=3))
        return [outcome for settings in streams for outcome in benchmark([batched], settings)]

    def check(single, triple):
        assert single.measurement.scenario == triple.measurement.scenario == "offline"
        assert single.measurement.throughput_per_s == pytest.approx(
            4 * single.measurement.count / single.measurement.seconds
        )
        # One stream gives at most 4 samples in 10 ms; three sleep at the same time.
        assert single.measurement.throughput_per_s <= 400
        assert triple.measurement.throughput_per_s / single.measurement.throughput_per_s > 1.5
        assert triple.measurement.throughput_per_s <= 1200
        assert triple.measurement.streams == 3 and min(triple.latencies_ns) >= 10e6
        assert len(triple.latencies_ns) == triple.measurement.count

    undisturbed(measured, check)


@pytest.fixture
def heat(tmp_path, monkeypatch):
    """A file that appears when half of the seconds are measured, and a list of further changes at that moment."""
    file, real = tmp_path / "hot", schedule._round
    what: list[Callable[[], object]] = [file.touch]

    def watched(run, cycle, settings, *, alone):
        real(run, cycle, settings, alone=alone)
        if run.seconds > settings.min_seconds / 2 and not file.exists():
            for change in what:
                change()

    monkeypatch.setattr(schedule, "_round", watched)
    return file, what


@pytest.mark.alone
def test_a_machine_that_slows_down_is_detected(entry, heat):
    def measured():
        heat[0].unlink(missing_ok=True)
        return benchmark([entry(sleep_ms=20, hot=str(heat[0]))], settings)

    def check(outcome):
        measurement = outcome.measurement
        assert measurement.scenario == "sustained" and measurement.seconds >= 3
        assert 1.5 < measurement.sustained.slowdown < 4
        assert measurement.throttle.verdict == "slowed", [round(timed.median_ns / 1e6, 1) for timed in outcome.rounds]
        assert (
            measurement.sustained.compared_s == pytest.approx(1.0, rel=0.2) and len(measurement.sustained.windows) >= 2
        )
        assert sum(window.count for window in measurement.sustained.windows) == measurement.count
        assert "SLOWED: p50" in words(measurement)
        assert Measurement.from_dict(json.loads(json.dumps(measurement.to_dict()))) == measurement

    settings = replace(SHORT, scenario="sustained", min_seconds=3, max_seconds=3)
    undisturbed(measured, check)


@pytest.mark.alone
def test_a_machine_that_stays_fast_is_not_reported(entry):
    def check(outcome):
        assert outcome.measurement.throttle.verdict == "unknown"
        assert outcome.measurement.throttle.reasons[-1].startswith("p50 ")

    settings = replace(SHORT, scenario="sustained", min_seconds=1.5, max_seconds=1.5)
    undisturbed(lambda: benchmark([entry(sleep_ms=10)], settings), check)


def test_sustained_runs_are_not_interleaved(entry):
    settings = replace(SHORT, scenario="sustained", min_seconds=0.4, max_seconds=0.4)
    first, second = benchmark([entry("first", sleep_ms=2), entry("second", sleep_ms=2)], settings)
    assert first.rounds[-1].began_s + first.rounds[-1].seconds <= second.rounds[0].began_s


def replaced(file: Path, text: str) -> None:
    """Replace the text of a file at once, so that no reader sees half of it."""
    new = file.with_name("new")
    new.write_text(text)
    new.replace(file)


@pytest.mark.alone
def test_a_falling_clock_explains_a_slowdown(entry, tmp_path, heat):
    root = Path(shutil.copytree(FIXTURES / "raspberry-pi-4", tmp_path / "pi"))
    clock = root / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"
    at_first = clock.read_text()
    heat[1].append(lambda: replaced(clock, "600000\n"))

    def measured():
        replaced(clock, at_first)
        heat[0].unlink(missing_ok=True)
        return benchmark([entry(sleep_ms=20, hot=str(heat[0]))], settings, sensor_set=sensors.find(root))

    def check(outcome):
        measurement = outcome.measurement
        assert measurement.throttle.verdict == "throttled" and mentions(
            measurement.throttle.reasons[0], ("clock", "1500")
        )
        assert measurement.sustained.windows[0].clock_mhz > measurement.sustained.windows[-1].clock_mhz
        assert measurement.sustained.windows[0].temperature_c == pytest.approx(48.686)
        assert measurement.energy_j is None and mentions(measurement.energy_reason, "Raspberry Pi 4 Model B", "power")

    settings = replace(SHORT, scenario="sustained", min_seconds=3, max_seconds=3, sample_s=0.1)
    undisturbed(measured, check)


def test_sensors_are_read_beside_a_plain_run(entry):
    def check(outcome):
        measurement = outcome.measurement
        assert measurement.energy_rail == "VDD_IN" and measurement.energy_reason is None
        # The tree's rail stands at 7.41184 W, so that an inference's energy is its share of the time.
        assert measurement.energy_j == pytest.approx(7.41184 * measurement.seconds / measurement.count, rel=1e-3)
        assert {series.name for series in measurement.sensors.of("temperature")} >= {"cpu-thermal", "tj-thermal"}
        assert measurement.sensors.facts == {"power mode": "15W"} and 0 < measurement.sensors.cpu_share < 1
        assert measurement.throttle.verdict == "not throttled"
        lines = words(measurement)
        assert mentions(lines, ("mJ", "VDD_IN"), "tj-thermal 52.4 °C", "power mode: 15W", ("reading", "cv0-thermal"))
        assert Measurement.from_dict(json.loads(json.dumps(measurement.to_dict()))) == measurement

    settings = replace(SHORT, min_seconds=2, round_ms=400, sample_s=0.15)
    sensor_set = sensors.find(FIXTURES / "jetson-orin-nano")
    undisturbed(lambda: benchmark([entry(sleep_ms=5)], settings, sensor_set=sensor_set), check)


def test_an_emulated_machine_has_no_sensors_of_its_own(entry, monkeypatch):
    monkeypatch.setattr(schedule, "emulated", lambda: True)
    (outcome,) = benchmark([entry(sleep_ms=5)], replace(SHORT, sample_s=0.1))
    measurement = outcome.measurement
    assert measurement.sensors.series == () and mentions(measurement.energy_reason, "emulated")
    assert measurement.throttle.verdict == "unknown"


def test_without_sensors_the_report_has_none(entry):
    (outcome,) = benchmark([entry(sleep_ms=5)], SHORT, sensor_set=SensorSet(Path("/nowhere")))
    measurement = outcome.measurement
    assert measurement.sensors is None and measurement.throttle is None and conditions.lines(measurement) == ()


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ({"rate": 30}, ("--rate", "'fixed-rate'", "'single-stream'")),
        ({"scenario": "fixed-rate"}, "'fixed-rate'"),
        ({"scenario": "fixed-rate", "rate": 0}, "--rate 0"),
        ({"scenario": "fixed-rate", "rate": 30, "deadline_ms": -1}, "--deadline-ms -1"),
        ({"scenario": "sustained", "streams": 2}, ("--streams", "'offline'")),
        ({"scenario": "offline", "batch": 0}, "--batch 0"),
    ],
)
def test_options_that_do_not_fit_the_scenario_are_refused(given, facts):
    with raises(UsageError, facts):
        Workload(**given)


def test_a_batch_is_filled_with_stored_samples_of_one_shape():
    rows = [np.full((1, 3), value, np.float32) for value in (1, 2)] + [np.zeros((1, 5), np.float32)]
    stored = [{"x": row} for row in rows]
    free, fixed = (TensorSpec.parse(f"x:f32[{size},n]") for size in ("batch", "1"))
    feeds, size = Workload("offline").feeds(stored, (free,), "b")
    assert size == 8 and feeds["x"][:, 0].tolist() == [1, 2, 1, 2, 1, 2, 1, 2]
    assert Workload("offline", batch=3).feeds(stored, (free,), "b")[1] == 3
    assert Workload("offline").feeds(stored, (fixed,), "b")[1] == 1 and Workload().feeds(stored, (free,), "b")[1] == 1
    with raises(UnsupportedError, "fixed", "--batch 4"):
        Workload("offline", batch=4).feeds(stored, (fixed,), "b")


def test_the_sensors_of_a_long_run_are_read_less_often():
    assert Workload().settings(5).sample_s == 0.5
    half_an_hour = Workload("sustained", minutes=30).settings(5)
    assert half_an_hour.min_seconds == half_an_hour.max_seconds == 1800 and half_an_hour.sample_s == 3
    assert Workload().settings(5, sensors=False).sample_s is None
