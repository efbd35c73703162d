"""The sensors of the machine that this runs on: temperature, clocks, power, memory, and whether it throttled.

Standard library only. Every reader takes a root prefix, so that fixture trees can be read; what is absent or refused
is told with its reason and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.sensors import clock, intel, jetson, memory, raspberry, thermal
from edgekit.sensors.reading import Sensor, Unreadable

__all__ = ["Board", "find"]


@dataclass(frozen=True)
class Board:
    """What can be read here. Counters in it count from their first reading: find a new one for each run."""

    root: Path
    sensors: tuple[Sensor, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Each quantity that nothing here tells, with the reason."""
    rail: str | None = None
    """The sensor that energy is taken from."""
    facts: Mapping[str, str] = field(default_factory=dict)


def find(root: Path = Path("/"), *, virtual: bool = False) -> Board:
    """Find every sensor below `root`; `virtual` is what `host.probe` says, and explains what is missing."""
    absent: dict[str, str] = {}
    power: list[Sensor] = []
    if raspberry.is_here(root):
        power, absent = raspberry.find(root)
    else:
        power, absent = jetson.find(root)
        power = power or intel.find(root)
    rail = power[0].name if power else None
    sensors = (*thermal.find(root), *clock.find(root), *power, *memory.find(root))
    known = {sensor.quantity for sensor in sensors}
    why = "a virtual machine has none" if virtual else "nothing in {} tells it"
    if "temperature" not in known:
        absent["temperature"] = why.format(f"'{root / 'sys/class/thermal'}' and '{root / 'sys/class/hwmon'}'")
    if "clock" not in known:
        absent["clock"] = why.format(f"'{root / clock.CPUFREQ}'")
    if rail is None and "power" not in absent:
        absent["power"] = why.format(f"'{root / 'sys/class/hwmon'}' and '{root / 'sys/class/powercap'}'")
    facts = {"power mode": jetson.power_mode(root), "clocks locked": clock.locked(root), "arm clock": _arm(root)}
    return Board(root, sensors, absent, rail, {name: fact for name, fact in facts.items() if fact is not None})


def _arm(root: Path) -> str | None:
    vcgencmd = raspberry.tool(root) if raspberry.is_here(root) else None
    if vcgencmd is None:
        return None
    try:
        return f"{raspberry.arm_clock_mhz(vcgencmd):.0f} MHz before the run, says the firmware"
    except Unreadable:
        return None
