"""Temperatures: the kernel's thermal zones, and the processors' own sensors under hwmon."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, listed, number, text

PROCESSORS = ("coretemp", "k10temp", "zenpower")
"""Drivers under hwmon that no thermal zone shows; boards' own show there what the zones show too."""

COLDEST_MC = -40_000
HOTTEST_MC = 150_000
"""Outside of these a value is a driver's word for `nothing`: -40000 where none is connected, -256000 when it is off."""


def find(root: Path) -> list[Sensor]:
    """Give every sensor of temperature below `root`."""
    found: dict[str, Path] = {}
    for zone in listed(root / "sys/class/thermal", "thermal_zone*"):
        _add(found, _name(zone / "type", zone.name), zone / "temp")
    for chip in listed(root / "sys/class/hwmon", "hwmon*"):
        driver = _name(chip / "name", chip.name)
        if driver in PROCESSORS:
            for value in listed(chip, "temp*_input"):
                label = value.with_name(value.name.replace("_input", "_label"))
                _add(found, f"{driver} {_name(label, value.name.removesuffix('_input'))}", value)
    return [Sensor(name, "temperature", partial(celsius, path)) for name, path in found.items()]


def celsius(path: Path) -> float:
    """Read a file in thousandths of a degree. Raises Unreadable for what no working sensor says."""
    value = number(path)
    if value == 0 or not COLDEST_MC < value < HOTTEST_MC:
        raise Unreadable(f"'{path}' says {value / 1000:g} °C, which no working sensor does")
    return value / 1000


def held_back(root: Path) -> dict[str, int]:
    """Give the state of each cooling device that slows a processor: 0 is full speed. Those that cannot be read are
    left out.
    """
    found = {}
    for device in listed(root / "sys/class/thermal", "cooling_device*"):
        kind = _name(device / "type", "")
        if any(word in kind.lower() for word in ("cpufreq", "devfreq", "processor")):
            try:
                found[f"{kind} ({device.name})"] = number(device / "cur_state")
            except Unreadable:
                continue
    return found


def _name(path: Path, otherwise: str) -> str:
    try:
        return text(path) or otherwise
    except Unreadable:
        return otherwise


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    """Keep names apart where a board has several of one type."""
    found[name if name not in found else f"{name} ({path.parent.name})"] = path
