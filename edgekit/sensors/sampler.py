"""A thread that reads a board's sensors a few times a second while another process is measured.

It lives in the parent of the measured process, which only waits meanwhile, and counts what it costs itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType

from edgekit.result.measurement import Quantity, Sensors, Series, Throttle
from edgekit.sensors import Board, throttling
from edgekit.sensors.energy import Point, growth, integral
from edgekit.sensors.reading import Sensor, Unreadable

LEAST_READINGS = 4
"""Readings of power within a timed region: fewer are a moment, and no mean."""

Region = tuple[float, float]
"""The start and end of a timed region, as `time.monotonic` tells them."""


@dataclass(frozen=True)
class Energy:
    """The joules of one inference and the rail; or why they are not known."""

    per_inference_j: float | None
    rail: str | None
    reason: str | None


class Sampler:
    """Read while the block runs; ask when it has ended, or between two rounds."""

    def __init__(self, board: Board, interval_s: float) -> None:
        self.board = board
        self.interval_s = interval_s
        self._times: list[float] = []
        self._values: list[list[float | None]] = [[] for _ in board.sensors]
        self._failed: dict[str, str] = {}
        self._cost_s = 0.0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgekit-sensors", daemon=True)
        self._before = throttling.Marks()
        self._began = time.monotonic()

    def __enter__(self) -> Sampler:
        self._before = throttling.read(self.board.root)
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
            for sensor in self.board.sensors:
                values.append(self._value(sensor))
            self._times.append(now + (time.monotonic() - now) / 2)
            for kept, value in zip(self._values, values, strict=True):
                kept.append(value)

    def throttle(self) -> Throttle:
        """Say whether the machine was throttled since the block began."""
        if not self.board.sensors:
            return Throttle("unknown", tuple(dict.fromkeys(self.board.absent.values())))
        return throttling.judge(self._before, throttling.read(self.board.root))

    def mean(self, quantity: Quantity, region: Region, prefix: str = "") -> float | None:
        """Give the mean in a region of the sensor that says most, of one quantity and with names that begin so."""
        found = []
        for sensor in self.board.sensors:
            if sensor.quantity == quantity and sensor.name.startswith(prefix):
                points, _ = self.points(sensor.name)
                if points and points[0][0] <= region[1] and points[-1][0] >= region[0]:
                    found.append(integral(points, *region) / (region[1] - region[0]))
        return max(found, default=None)

    def power_w(self, region: Region) -> float | None:
        """Give the mean power of the rail in a region."""
        if self.board.rail is None:
            return None
        points, quantity = self.points(self.board.rail)
        if not points:
            return None
        measure = growth if quantity == "energy" else integral
        return measure(points, *region) / (region[1] - region[0])

    def sensors(self, regions: Sequence[Region]) -> Sensors:
        """Give what was read from the first region's start to the last one's end, and one reading before and after."""
        with self._lock:
            start, end = regions[0][0] - self.interval_s, regions[-1][1] + self.interval_s
            kept = [index for index, when in enumerate(self._times) if start <= when <= end]
            series, absent = [], dict(self.board.absent)
            for sensor, values in zip(self.board.sensors, self._values, strict=True):
                chosen = tuple(_rounded(values[index]) for index in kept)
                missing = sum(value is None for value in chosen)
                if missing and sensor.name in self._failed:
                    of = "" if missing == len(chosen) else f"{missing} of {len(chosen)} readings failed: "
                    absent[sensor.name] = of + self._failed[sensor.name]
                if missing < len(chosen):
                    series.append(Series(sensor.name, sensor.quantity, chosen))
            times = tuple(round(self._times[index] - regions[0][0], 3) for index in kept)
            passed = time.monotonic() - self._began
        return Sensors(self.interval_s, times, tuple(series), absent, self._cost_s / passed, self.board.facts)

    def energy(self, regions: Sequence[Region], count: int) -> Energy:
        """Give the joules of each of `count` inferences in the regions."""
        rail, board = self.board.rail, self.board
        if rail is None:
            return Energy(None, None, board.absent.get("power", "no power sensor was found"))
        points, quantity = self.points(rail)
        turns = joined(regions, self.interval_s)
        inside = [t for t, _ in points if any(start <= t <= end for start, end in turns)]
        if not points:
            return Energy(None, None, self._failed.get(rail, f"'{rail}' was not read"))
        turn_s = sum(end - start for start, end in turns) / len(turns)
        if len(inside) < LEAST_READINGS or turn_s < 2 * self.interval_s:
            return Energy(
                None, None,
                f"'{rail}' was read every {self.interval_s:g} s, too seldom for turns of {turn_s:.2g} s: "
                "measure this bundle alone, and longer",
            )  # fmt: skip
        widest = max(t1 - t0 for (t0, _), (t1, _) in pairwise(points))
        if widest > 5 * self.interval_s:
            return Energy(
                None, None, f"'{rail}' gave no value for {widest:.1f} s: {self._failed.get(rail, 'no reason')}"
            )
        measure = growth if quantity == "energy" else integral
        total = sum(measure(points, start, end) for start, end in regions)
        return Energy(total / count, rail, None)

    def points(self, name: str) -> tuple[list[Point], Quantity]:
        """Give the readings of one sensor that succeeded."""
        at = next(index for index, sensor in enumerate(self.board.sensors) if sensor.name == name)
        with self._lock:
            pairs = zip(self._times, self._values[at], strict=True)
            return [(when, value) for when, value in pairs if value is not None], self.board.sensors[at].quantity

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
    """Give the processor time of the tools that were run and have ended."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def joined(regions: Sequence[Region], gap_s: float) -> list[Region]:
    """Join regions that follow each other within `gap_s`."""
    found: list[Region] = []
    for start, end in regions:
        if found and start - found[-1][1] <= gap_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
