"""The sensors of this machine: temperature, clocks, power, memory, and whether it throttled.

Standard library only. Every reader takes a root prefix, so that fixture trees can be read. What is absent or cannot be
read is reported with the reason, and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.sensors import clock, intel, jetson, memory, raspberry, thermal
from edgekit.sensors.reading import Sensor, Unreadable

__all__ = ["SensorSet", "find"]


@dataclass(frozen=True)
class SensorSet:
    """The sensors that can be read here. Its counters count from their first reading: find a new set for each run."""

    root: Path
    sensors: tuple[Sensor, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Each quantity that no sensor here measures, with the reason."""
    rail: str | None = None
    """The sensor that energy is computed from."""
    facts: Mapping[str, str] = field(default_factory=dict)


def find(root: Path = Path("/"), *, virtual: bool = False) -> SensorSet:
    """Return every sensor below `root`; `virtual` is `Host.virtual`, which explains missing sensors."""
    absent: dict[str, str] = {}
    power: list[Sensor] = []
    if raspberry.is_raspberry_pi(root):
        power, absent = raspberry.find(root)
    else:
        power, absent = jetson.find(root)
        power = power or intel.find(root)
    rail = power[0].name if power else None
    sensors = (*thermal.find(root), *clock.find(root), *power, *memory.find(root))
    quantities = {sensor.quantity for sensor in sensors}
    reason = "a virtual machine has none" if virtual else "nothing in {} measures it"
    if "temperature" not in quantities:
        absent["temperature"] = reason.format(f"'{root / 'sys/class/thermal'}' and '{root / 'sys/class/hwmon'}'")
    if "clock" not in quantities:
        absent["clock"] = reason.format(f"'{root / clock.CPUFREQ}'")
    if rail is None and "power" not in absent:
        absent["power"] = reason.format(f"'{root / 'sys/class/hwmon'}' and '{root / 'sys/class/powercap'}'")
    facts = {"power mode": jetson.power_mode(root), "clocks locked": clock.locked(root), "arm clock": _arm_clock(root)}
    return SensorSet(root, sensors, absent, rail, {name: fact for name, fact in facts.items() if fact is not None})


def _arm_clock(root: Path) -> str | None:
    vcgencmd = raspberry.tool(root) if raspberry.is_raspberry_pi(root) else None
    if vcgencmd is None:
        return None
    try:
        return f"{raspberry.arm_clock_mhz(vcgencmd):.0f} MHz before the run, by the firmware"
    except Unreadable:
        return None
