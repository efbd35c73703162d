"""The sampler and the energy: integrals with known values, and sensors that change or fail while they are read."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path

import pytest

from edgekit import sensors
from edgekit.result.measurement import Quantity
from edgekit.sensors import SensorSet, energy
from edgekit.sensors.reading import Sensor, Unreadable
from edgekit.sensors.sampler import Sampler, merge
from tests.wording import mentions

FIXTURES = Path(__file__).parent.parent / "fixtures" / "sensors"


def test_the_integral_of_a_constant_and_of_a_ramp_is_exact():
    constant = [(float(t), 5.0) for t in range(11)]
    assert energy.integral(constant, 0, 10) == pytest.approx(50)
    assert energy.integral(constant, 2.25, 7.5) == pytest.approx(5 * 5.25), "ends need not be readings"
    ramp = [(t / 2, 3 * t / 2) for t in range(21)]  # P = 3 t: E = 1.5 t^2
    assert energy.integral(ramp, 0, 10) == pytest.approx(150)
    assert energy.integral(ramp, 1.3, 8.9) == pytest.approx(1.5 * (8.9**2 - 1.3**2))


def test_the_integral_of_a_sine_is_within_the_error_of_the_trapezoid_rule():
    # P = 10 + 5 sin(t), E = 10 T + 5 (1 - cos T); the rule's error is at most h^2 T max|P''| / 12
    step, end = 0.1, 12.0
    points = [(index * step, 10 + 5 * math.sin(index * step)) for index in range(121)]
    known = 10 * end + 5 * (1 - math.cos(end))
    assert abs(energy.integral(points, 0, end) - known) <= step**2 * end * 5 / 12


def test_unevenly_spaced_readings_count_by_their_time():
    assert energy.integral([(0, 2.0), (1, 2.0), (4, 8.0)], 0, 4) == pytest.approx(2 + 15)


def test_a_counter_grows_evenly_between_readings():
    counted = [(0.0, 0.0), (1.0, 7.0), (2.0, 7.0), (4.0, 27.0)]
    assert energy.growth(counted, 0, 4) == 27
    assert energy.growth(counted, 0.5, 3.0) == pytest.approx(17 - 3.5)


def test_regions_that_follow_each_other_are_merged():
    assert merge([(0, 1), (1.01, 2), (5, 6)], 0.1) == [(0, 2), (5, 6)]


class Scripted:
    """A sensor that returns the values of its script, then the last one for ever."""

    def __init__(self, *values: float | None) -> None:
        self.values = list(values)

    def __call__(self) -> float:
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if value is None:
            raise Unreadable("the kernel has no value for 'power' (EAGAIN)")
        return value


class Clock:
    """Replaces `time.monotonic` in the sampler, so that the results are known."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def read(clock: Clock, sensor_set: SensorSet, count: int, interval_s: float = 0.5) -> Sampler:
    """Read `count` times, the first at 100 s, without the thread."""
    sampler = Sampler(sensor_set, interval_s)
    for _ in range(count):
        sampler.read()
        clock.now += interval_s
    return sampler


def rail(*values: float | None, quantity: Quantity = "power") -> SensorSet:
    return SensorSet(Path("/nowhere"), (Sensor("VDD_IN", quantity, Scripted(*values)),), rail="VDD_IN")


def test_energy_is_power_times_time_by_inference(clock):
    sampler = read(clock, rail(8.0), 11)
    used = sampler.energy([(100.25, 104.75)], 100)
    assert used.rail == "VDD_IN" and used.reason is None
    assert used.per_inference_j == pytest.approx(8.0 * 4.5 / 100)
    assert sampler.power_w((101, 103)) == pytest.approx(8.0)
    ramp = read(clock, rail(*(float(value) for value in range(11))), 11)  # 2 W more each second, from 105.5 s on
    assert ramp.energy([(105.5, 110.5)], 1).per_inference_j == pytest.approx(25)


def test_only_the_timed_regions_count(clock):
    sampler = read(clock, rail(4.0), 41)
    regions = [(100.0, 105.0), (112.0, 117.0)]
    assert sampler.energy(regions, 10).per_inference_j == pytest.approx(4.0)


def test_energy_of_a_counter_that_wraps_while_it_is_read(clock, tmp_path):
    root = Path(shutil.copytree(FIXTURES / "intel-n100", tmp_path / "box"))
    zone = root / "sys/class/powercap/intel-rapl:0"
    count, limit = (int((zone / f"{name}_uj").read_text()) for name in ("energy", "max_energy_range"))
    sampler = Sampler(sensors.find(root), 0.5)
    for _ in range(9):  # 2 J each half second; the counter wraps on the way
        sampler.read()
        clock.now += 0.5
        count = (count + 2_000_000) % limit
        (zone / "energy_uj").write_text(f"{count}\n")
    assert count < 18_000_000, "it wrapped"
    used = sampler.energy([(100.25, 103.75)], 7)
    assert used.rail == "package-0" and used.per_inference_j == pytest.approx(4.0 * 3.5 / 7)
    assert sampler.power_w((100.5, 103.0)) == pytest.approx(4.0)


def test_rounds_too_short_for_the_sampler_have_no_energy(clock):
    used = read(clock, rail(8.0), 11).energy([(100.0, 100.2), (101.0, 101.2), (102.0, 102.2)], 10)
    assert used.per_inference_j is None and mentions(used.reason, "0.2 s")
    assert mentions(used.reason, "alone")


def test_a_rail_that_fails_for_long_has_no_energy(clock):
    sampler = read(clock, rail(8.0, 8.0, *[None] * 8, 8.0), 15)
    used = sampler.energy([(100.0, 107.0)], 10)
    assert used.per_inference_j is None and mentions(used.reason, "4.5 s", "EAGAIN")
    brief = read(clock, rail(8.0, 8.0, None, 8.0), 15)
    assert brief.energy([(107.5, 114.5)], 7).per_inference_j == pytest.approx(8.0), "one missed reading is bridged"


def test_a_rail_that_cannot_be_read_has_a_reason(clock):
    sampler = read(clock, rail(None, quantity="energy"), 5)
    assert mentions(sampler.energy([(100.0, 102.0)], 10).reason, "'power'", "EAGAIN")
    readings = sampler.sensors([(100.0, 102.0)])
    assert readings.series == () and set(readings.absent) == {"VDD_IN"}
    assert mentions(readings.absent["VDD_IN"], "'power'", "EAGAIN")


def test_values_that_change_and_vanish_while_they_are_read(clock, tmp_path):
    root = Path(shutil.copytree(FIXTURES / "raspberry-pi-4", tmp_path / "pi"))
    zone = root / "sys/class/thermal/thermal_zone0/temp"
    sampler = Sampler(sensors.find(root), 0.5)
    sampler.read()
    zone.write_text("71000\n")
    clock.now += 0.5
    sampler.read()
    zone.unlink()
    clock.now += 0.5
    sampler.read()
    readings = sampler.sensors([(100.0, 101.0)])
    (series,) = readings.of("temperature")
    assert series.values == (48.686, 71.0, None) and readings.times_s == (0.0, 0.5, 1.0)
    assert mentions(readings.absent["cpu-thermal"], "1 of 3 readings")


def test_the_thread_reads_counts_its_cost_and_ends():
    with Sampler(sensors.find(FIXTURES / "jetson-orin-nano"), 0.02) as sampler:
        began = time.monotonic()
        while len(sampler.points("VDD_IN")[0]) < 5 and time.monotonic() < began + 20:
            time.sleep(0.02)
    readings = sampler.sensors([(began, time.monotonic())])
    assert not sampler._thread.is_alive()
    assert len(readings.times_s) >= 5 and 0 < readings.cpu_share < 1 and readings.facts == {"power mode": "15W"}
    assert [series.name for series in readings.of("power")] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    assert sampler.throttle().verdict == "not throttled"


def test_a_machine_without_sensors_has_no_energy_and_no_verdict():
    with Sampler(SensorSet(Path("/nowhere"), absent={"power": "this machine is emulated"}), 0.02) as sampler:
        pass
    assert mentions(sampler.energy([(0, 1)], 1).reason, "emulated")
    assert sampler.throttle().verdict == "unknown"
