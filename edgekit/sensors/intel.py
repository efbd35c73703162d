"""Intel (and AMD): RAPL's energy counters of the processor package, and the counts of thermal throttling.

The package is the processor, without its memory, drives or power supply. Only root may read the counters since
CVE-2020-8694.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, entries, number, text


class Counter:
    """A counter of energy that wraps around. It must be read more often than it wraps."""

    def __init__(self, zone: Path) -> None:
        self.zone = zone
        self._last: int | None = None
        self._sum_uj = 0

    def read(self) -> float:
        """Return the joules since the first reading. Raises Unreadable."""
        now = number(self.zone / "energy_uj")
        if self._last is not None:
            grown = now - self._last
            if grown < 0:
                grown += number(self.zone / "max_energy_range_uj")
            if grown < 0:
                raise Unreadable(f"'{self.zone / 'energy_uj'}' decreased by more than its range: it was reset")
            self._sum_uj += grown
        self._last = now
        return self._sum_uj / 1e6


def find(root: Path) -> list[Sensor]:
    """Return the counter of the package first, the sum of several packages; then those of their parts."""
    packages: list[tuple[str, Counter]] = []
    parts: list[Sensor] = []
    for zone in entries(root / "sys/class/powercap", "intel-rapl:*"):
        try:
            name = text(zone / "name")
        except Unreadable:
            continue
        counter = Counter(zone)
        if name.startswith("package-"):
            packages.append((name, counter))
        else:  # the name of a part is the same in each package
            label = f"{name} of {zone.name}" if any(part.name == name for part in parts) else name
            parts.append(Sensor(label, "energy", counter.read))
    if not packages:
        return parts
    counters = [counter for _, counter in packages]
    name = " + ".join(name for name, _ in sorted(packages, key=lambda pair: pair[0]))
    return [Sensor(name, "energy", lambda: _sum(counters)), *parts]


def throttle_counts(root: Path) -> dict[str, int]:
    """Return how often each processor was throttled since boot, for itself and its package; empty where not counted."""
    counts = {}
    for processor in entries(root / "sys/devices/system/cpu", "cpu[0-9]*"):
        for kind in ("core", "package"):
            try:
                counts[f"{processor.name} {kind}"] = number(processor / "thermal_throttle" / f"{kind}_throttle_count")
            except Unreadable:
                continue
    return counts


def _sum(counters: Sequence[Counter]) -> float:
    return sum(counter.read() for counter in counters)
