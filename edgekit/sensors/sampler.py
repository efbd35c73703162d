"""A thread that reads a machine's sensors a few times a second while another process is measured.

It runs in the parent of the measured process, which only waits meanwhile, and measures its own cost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType

from edgekit.result.measurement import Quantity, Sensors, Series, Throttle
from edgekit.sensors import SensorSet, throttling
from edgekit.sensors.energy import Point, growth, integral
from edgekit.sensors.reading import Sensor, Unreadable

MIN_READINGS = 4
"""Readings of power within the timed regions: fewer have no meaningful mean."""

Region = tuple[float, float]
"""The start and end of a timed region, by `time.monotonic`."""


@dataclass(frozen=True)
class Energy:
    """The joules of one inference and the rail that they were measured on, or the reason why they are unknown."""

    per_inference_j: float | None
    rail: str | None
    reason: str | None


class Sampler:
    """Reads a set of sensors while its block runs; query it after the block, or between two rounds."""

    def __init__(self, sensor_set: SensorSet, interval_s: float) -> None:
        self.sensor_set = sensor_set
        self.interval_s = interval_s
        self._times: list[float] = []
        self._values: list[list[float | None]] = [[] for _ in sensor_set.sensors]
        self._failed: dict[str, str] = {}
        self._cost_s = 0.0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgekit-sensors", daemon=True)
        self._before = throttling.ThrottleCounts()
        self._began = time.monotonic()

    def __enter__(self) -> Sampler:
        self._before = throttling.read(self.sensor_set.root)
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=5)

    def read(self) -> None:
        """Read every sensor now."""
        values: list[float | None] = []
        now = time.monotonic()
        with self._lock:
            for sensor in self.sensor_set.sensors:
                values.append(self._value(sensor))
            self._times.append(now + (time.monotonic() - now) / 2)
            for readings, value in zip(self._values, values, strict=True):
                readings.append(value)

    def throttle(self) -> Throttle:
        """Return whether the machine was throttled since the block began."""
        if not self.sensor_set.sensors:
            return Throttle("unknown", tuple(dict.fromkeys(self.sensor_set.absent.values())))
        return throttling.judge(self._before, throttling.read(self.sensor_set.root))

    def mean(self, quantity: Quantity, region: Region, prefix: str = "") -> float | None:
        """Return the mean in a region, of the sensor with the highest mean.

        Of the sensors of one quantity, with names that begin with `prefix`.
        """
        means = []
        for sensor in self.sensor_set.sensors:
            if sensor.quantity == quantity and sensor.name.startswith(prefix):
                points, _ = self.points(sensor.name)
                if points and points[0][0] <= region[1] and points[-1][0] >= region[0]:
                    means.append(integral(points, *region) / (region[1] - region[0]))
        return max(means, default=None)

    def power_w(self, region: Region) -> float | None:
        """Return the rail's mean power in a region."""
        if self.sensor_set.rail is None:
            return None
        points, quantity = self.points(self.sensor_set.rail)
        if not points:
            return None
        energy_of = growth if quantity == "energy" else integral
        return energy_of(points, *region) / (region[1] - region[0])

    def sensors(self, regions: Sequence[Region]) -> Sensors:
        """Return the readings from the first region's start to the last one's end, and one before and one after."""
        with self._lock:
            start, end = regions[0][0] - self.interval_s, regions[-1][1] + self.interval_s
            kept = [index for index, when in enumerate(self._times) if start <= when <= end]
            series, absent = [], dict(self.sensor_set.absent)
            for sensor, values in zip(self.sensor_set.sensors, self._values, strict=True):
                chosen = tuple(_rounded(values[index]) for index in kept)
                missing = sum(value is None for value in chosen)
                if missing and sensor.name in self._failed:
                    of = "" if missing == len(chosen) else f"{missing} of {len(chosen)} readings failed: "
                    absent[sensor.name] = of + self._failed[sensor.name]
                if missing < len(chosen):
                    series.append(Series(sensor.name, sensor.quantity, chosen))
            times = tuple(round(self._times[index] - regions[0][0], 3) for index in kept)
            passed = time.monotonic() - self._began
        return Sensors(self.interval_s, times, tuple(series), absent, self._cost_s / passed, self.sensor_set.facts)

    def energy(self, regions: Sequence[Region], count: int) -> Energy:
        """Return the joules of each of `count` inferences in the regions."""
        rail = self.sensor_set.rail
        if rail is None:
            return Energy(None, None, self.sensor_set.absent.get("power", "no power sensor was found"))
        points, quantity = self.points(rail)
        merged = merge(regions, self.interval_s)
        inside = [time_s for time_s, _ in points if any(start <= time_s <= end for start, end in merged)]
        if not points:
            return Energy(None, None, self._failed.get(rail, f"'{rail}' was not read"))
        length_s = sum(end - start for start, end in merged) / len(merged)
        if len(inside) < MIN_READINGS or length_s < 2 * self.interval_s:
            return Energy(
                None, None,
                f"'{rail}' was read every {self.interval_s:g} s, too rarely for rounds of {length_s:.2g} s: "
                "measure this bundle alone, and longer",
            )  # fmt: skip
        gap_s = max(t1 - t0 for (t0, _), (t1, _) in pairwise(points))
        if gap_s > 5 * self.interval_s:
            return Energy(None, None, f"'{rail}' had no value for {gap_s:.1f} s: {self._failed.get(rail, 'no reason')}")
        energy_of = growth if quantity == "energy" else integral
        total = sum(energy_of(points, start, end) for start, end in regions)
        return Energy(total / count, rail, None)

    def points(self, name: str) -> tuple[list[Point], Quantity]:
        """Return the successful readings of one sensor, and its quantity."""
        index = next(index for index, sensor in enumerate(self.sensor_set.sensors) if sensor.name == name)
        with self._lock:
            pairs = zip(self._times, self._values[index], strict=True)
            points = [(when, value) for when, value in pairs if value is not None]
        return points, self.sensor_set.sensors[index].quantity

    def _run(self) -> None:
        due = time.monotonic()
        while not self._end.is_set():
            began = time.thread_time() + _children_s()
            self.read()
            self._cost_s += time.thread_time() + _children_s() - began
            due = max(due + self.interval_s, time.monotonic())
            self._end.wait(due - time.monotonic())
        self.read()

    def _value(self, sensor: Sensor) -> float | None:
        try:
            return sensor.read()
        except Unreadable as reason:
            self._failed[sensor.name] = str(reason)
            return None


def _children_s() -> float:
    """Return the processor time of the tools that were run and have ended."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def merge(regions: Sequence[Region], gap_s: float) -> list[Region]:
    """Return the regions with those merged that follow each other within `gap_s`."""
    merged: list[Region] = []
    for start, end in regions:
        if merged and start - merged[-1][1] <= gap_s:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
