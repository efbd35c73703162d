"""The scenarios, against models whose time is known: they sleep. Real processes, short runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit import sensors
from edgekit.bench import Load, Settings, benchmark, schedule
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


def words(found: Measurement) -> str:
    return "\n".join(f"{what}: {text}" for what, text, _ in conditions.lines(found))


@pytest.mark.alone
def test_a_camera_that_is_kept_up_with(entry):
    def check(outcome):
        found = outcome.measurement
        assert found.scenario == "fixed-rate" and found.count == 20
        assert found.throughput_per_s == pytest.approx(20, rel=0.05), "the schedule's, not what it could do"
        assert not found.pace.overloaded and 0.1 <= found.pace.busy_share < 0.9
        assert found.pace.service_p50_ms >= 5 and found.p50_ms >= found.pace.service_p50_ms
        assert found.pace.missed == (outcome.latencies_ns > 200e6).sum()

    asked = replace(SHORT, scenario="fixed-rate", rate_per_s=20, deadline_ms=200, min_seconds=1)
    undisturbed(lambda: benchmark([entry(sleep_ms=5)], asked), check)


def test_a_camera_that_is_too_fast_is_an_overload(entry):
    asked = replace(SHORT, scenario="fixed-rate", rate_per_s=100, min_seconds=0.5)
    (outcome,) = benchmark([entry(sleep_ms=20)], asked)
    found = outcome.measurement
    assert found.pace.overloaded and found.pace.busy_share >= 2
    assert found.pace.deadline_ms == 10 and found.pace.missed >= found.count, "every answer was late"
    assert outcome.latencies_ns[10] >= 100e6 + 20e6, "the eleventh waited for ten, each 10 ms slower than the schedule"
    assert mentions(words(found), "OVERLOADED")


def test_cameras_take_turns_in_long_rounds(entry):
    asked = replace(SHORT, scenario="fixed-rate", rate_per_s=50, min_seconds=1)
    outcomes = benchmark([entry("first", sleep_ms=2), entry("second", sleep_ms=4)], asked)
    assert all(one.ok and min(turn.seconds for turn in one.rounds) >= 0.99 for one in outcomes)


@pytest.mark.alone
def test_offline_counts_samples_of_batches_and_streams(entry, feeds):
    made = entry(sleep_ms=10)
    part = made.payload.part
    free = replace(part, inputs=(TensorSpec.parse("x:f32[n,64]"),), outputs=(TensorSpec.parse("y:f32[n,8]"),))
    fed = {"x": np.repeat(feeds["x"], 4, axis=0)}
    batched = replace(made, payload=replace(made.payload, part=free), feeds=fed, batch=4)

    def measured():
        streams = (replace(SHORT, scenario="offline"), replace(SHORT, scenario="offline", streams=3))
        return [outcome for asked in streams for outcome in benchmark([batched], asked)]

    def check(one, three):
        assert one.measurement.scenario == three.measurement.scenario == "offline"
        assert one.measurement.throughput_per_s == pytest.approx(4 * one.measurement.count / one.measurement.seconds)
        # One stream gives at most 4 samples in 10 ms; three sleep at the same time.
        assert one.measurement.throughput_per_s <= 400
        assert three.measurement.throughput_per_s / one.measurement.throughput_per_s > 1.5
        assert three.measurement.throughput_per_s <= 1200
        assert three.measurement.streams == 3 and min(three.latencies_ns) >= 10e6
        assert len(three.latencies_ns) == three.measurement.count

    undisturbed(measured, check)


@pytest.fixture
def heat(tmp_path, monkeypatch):
    """Give a file that comes to be, with what else is asked for, when half of the seconds are measured."""
    file, real = tmp_path / "hot", schedule._round
    what: list[Callable[[], object]] = [file.touch]

    def watched(run, cycle, settings, *, alone):
        real(run, cycle, settings, alone=alone)
        if run.seconds > settings.min_seconds / 2 and not file.exists():
            for each in what:
                each()

    monkeypatch.setattr(schedule, "_round", watched)
    return file, what


@pytest.mark.alone
def test_a_machine_that_slows_down_is_found(entry, heat):
    def measured():
        heat[0].unlink(missing_ok=True)
        return benchmark([entry(sleep_ms=20, hot=str(heat[0]))], asked)

    def check(outcome):
        found = outcome.measurement
        assert found.scenario == "sustained" and found.seconds >= 3
        assert 1.5 < found.sustained.slowdown < 4
        assert found.throttle.verdict == "slowed", [round(one.median_ns / 1e6, 1) for one in outcome.rounds]
        assert found.sustained.compared_s == pytest.approx(1.0, rel=0.2) and len(found.sustained.windows) >= 2
        assert sum(window.count for window in found.sustained.windows) == found.count
        assert "SLOWED: p50" in words(found)
        assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found

    asked = replace(SHORT, scenario="sustained", min_seconds=3, max_seconds=3)
    undisturbed(measured, check)


@pytest.mark.alone
def test_a_machine_that_stays_fast_is_not_accused(entry):
    def check(outcome):
        assert outcome.measurement.throttle.verdict == "unknown"
        assert outcome.measurement.throttle.reasons[-1].startswith("p50 ")

    asked = replace(SHORT, scenario="sustained", min_seconds=1.5, max_seconds=1.5)
    undisturbed(lambda: benchmark([entry(sleep_ms=10)], asked), check)


def test_sustained_runs_are_not_shared(entry):
    asked = replace(SHORT, scenario="sustained", min_seconds=0.4, max_seconds=0.4)
    first, second = benchmark([entry("first", sleep_ms=2), entry("second", sleep_ms=2)], asked)
    assert first.rounds[-1].began_s + first.rounds[-1].seconds <= second.rounds[0].began_s


def replaced(file: Path, text: str) -> None:
    """Give a file another text at once, so that no reader sees half of it."""
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
        return benchmark([entry(sleep_ms=20, hot=str(heat[0]))], asked, sensor_set=sensors.find(root))

    def check(outcome):
        found = outcome.measurement
        assert found.throttle.verdict == "throttled" and mentions(found.throttle.reasons[0], ("clock", "1500"))
        assert found.sustained.windows[0].clock_mhz > found.sustained.windows[-1].clock_mhz
        assert found.sustained.windows[0].temperature_c == pytest.approx(48.686)
        assert found.energy_j is None and mentions(found.energy_reason, "Raspberry Pi 4 Model B", "power")

    asked = replace(SHORT, scenario="sustained", min_seconds=3, max_seconds=3, sample_s=0.1)
    undisturbed(measured, check)


def test_sensors_are_read_beside_a_plain_run(entry):
    def check(outcome):
        found = outcome.measurement
        assert found.energy_rail == "VDD_IN" and found.energy_reason is None
        # The tree's rail stands at 7.41184 W, so that an inference's energy is its share of the time.
        assert found.energy_j == pytest.approx(7.41184 * found.seconds / found.count, rel=1e-3)
        assert {series.name for series in found.sensors.of("temperature")} >= {"cpu-thermal", "tj-thermal"}
        assert found.sensors.facts == {"power mode": "15W"} and 0 < found.sensors.cpu_share < 1
        assert found.throttle.verdict == "not throttled"
        said = words(found)
        assert mentions(said, ("mJ", "VDD_IN"), "tj-thermal 52.4 °C", "power mode: 15W", ("reading", "cv0-thermal"))
        assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found

    asked = replace(SHORT, min_seconds=2, round_ms=400, sample_s=0.15)
    sensor_set = sensors.find(FIXTURES / "jetson-orin-nano")
    undisturbed(lambda: benchmark([entry(sleep_ms=5)], asked, sensor_set=sensor_set), check)


def test_an_emulated_machine_has_no_sensors_of_its_own(entry, monkeypatch):
    monkeypatch.setattr(schedule, "emulated", lambda: True)
    (outcome,) = benchmark([entry(sleep_ms=5)], replace(SHORT, sample_s=0.1))
    found = outcome.measurement
    assert found.sensors.series == () and mentions(found.energy_reason, "emulated")
    assert found.throttle.verdict == "unknown"


def test_without_sensors_there_is_no_word_of_them(entry):
    (outcome,) = benchmark([entry(sleep_ms=5)], SHORT, sensor_set=SensorSet(Path("/nowhere")))
    found = outcome.measurement
    assert found.sensors is None and found.throttle is None and conditions.lines(found) == ()


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
def test_what_does_not_fit_is_refused_with_the_way_out(given, facts):
    with raises(UsageError, facts):
        Load(**given)


def test_a_batch_is_filled_with_stored_samples_of_one_shape():
    rows = [np.full((1, 3), value, np.float32) for value in (1, 2)] + [np.zeros((1, 5), np.float32)]
    stored = [{"x": row} for row in rows]
    free, fixed = (TensorSpec.parse(f"x:f32[{size},n]") for size in ("batch", "1"))
    feeds, size = Load("offline").feeds(stored, (free,), "b")
    assert size == 8 and feeds["x"][:, 0].tolist() == [1, 2, 1, 2, 1, 2, 1, 2]
    assert Load("offline", batch=3).feeds(stored, (free,), "b")[1] == 3
    assert Load("offline").feeds(stored, (fixed,), "b")[1] == 1 and Load().feeds(stored, (free,), "b")[1] == 1
    with raises(UnsupportedError, "fixed", "--batch 4"):
        Load("offline", batch=4).feeds(stored, (fixed,), "b")


def test_a_long_run_is_read_less_often():
    assert Load().settings(5).sample_s == 0.5
    half_an_hour = Load("sustained", minutes=30).settings(5)
    assert half_an_hour.min_seconds == half_an_hour.max_seconds == 1800 and half_an_hour.sample_s == 3
    assert Load().settings(5, sensors=False).sample_s is None
