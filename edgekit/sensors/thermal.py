"""Temperatures: the kernel's thermal zones, and the processors' own sensors under hwmon."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, entries, number, text

PROCESSORS = ("coretemp", "k10temp", "zenpower")
"""Drivers under hwmon that no thermal zone repeats; those of boards repeat the thermal zones."""

COLDEST_MC = -40_000
HOTTEST_MC = 150_000
"""Outside of these a value means `none`: -40000 where no sensor is connected, -256000 where its part is off."""


def find(root: Path) -> list[Sensor]:
    """Return every temperature sensor below `root`."""
    paths: dict[str, Path] = {}
    for zone in entries(root / "sys/class/thermal", "thermal_zone*"):
        _add(paths, _name(zone / "type", zone.name), zone / "temp")
    for chip in entries(root / "sys/class/hwmon", "hwmon*"):
        driver = _name(chip / "name", chip.name)
        if driver in PROCESSORS:
            for value in entries(chip, "temp*_input"):
                label = value.with_name(value.name.replace("_input", "_label"))
                _add(paths, f"{driver} {_name(label, value.name.removesuffix('_input'))}", value)
    return [Sensor(name, "temperature", partial(celsius, path)) for name, path in paths.items()]


def celsius(path: Path) -> float:
    """Return the degrees in a file of thousandths. Raises Unreadable for a value that no working sensor has."""
    value = number(path)
    if value == 0 or not COLDEST_MC < value < HOTTEST_MC:
        raise Unreadable(f"'{path}' contains {value / 1000:g} °C, which no working sensor measures")
    return value / 1000


def cooling_states(root: Path) -> dict[str, int]:
    """Return the state of each cooling device that slows a processor: 0 is full speed.

    Those that cannot be read are left out.
    """
    states = {}
    for device in entries(root / "sys/class/thermal", "cooling_device*"):
        kind = _name(device / "type", "")
        if any(word in kind.lower() for word in ("cpufreq", "devfreq", "processor")):
            try:
                states[f"{kind} ({device.name})"] = number(device / "cur_state")
            except Unreadable:
                continue
    return states


def _name(path: Path, default: str) -> str:
    try:
        return text(path) or default
    except Unreadable:
        return default


def _add(paths: dict[str, Path], name: str, path: Path) -> None:
    """Add a sensor under a unique name: a board may have several of one type."""
    paths[name if name not in paths else f"{name} ({path.parent.name})"] = path
