"""Clocks: cpufreq's policies, one for each cluster of cores, and devfreq for graphics and memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, entries, number

CPUFREQ = "sys/devices/system/cpu/cpufreq"


def find(root: Path) -> list[Sensor]:
    """Return every clock below `root`."""
    policies = [
        Sensor(policy.name, "clock", partial(megahertz, policy / "scaling_cur_freq", 1000))
        for policy in entries(root / CPUFREQ, "policy*")
    ]
    devices = [
        Sensor(device.name, "clock", partial(megahertz, device / "cur_freq", 1_000_000))
        for device in entries(root / "sys/class/devfreq", "*")
    ]
    return policies + devices


def megahertz(path: Path, per_mhz: int) -> float:
    """Return a clock in MHz. Raises Unreadable for 0, which a driver reports for a part that it has switched off."""
    value = number(path)
    if value <= 0:
        raise Unreadable(f"'{path}' contains {value}")
    return value / per_mhz


def locked(root: Path) -> str | None:
    """Return the clock at which each policy is locked: its lowest and highest are equal, as after `jetson_clocks`.

    None where they may change.
    """
    locked = []
    for policy in entries(root / CPUFREQ, "policy*"):
        try:
            low, high = (number(policy / f"scaling_{end}_freq") for end in ("min", "max"))
        except Unreadable:
            return None
        if low != high:
            return None
        locked.append(f"{policy.name} at {high // 1000} MHz")
    return ", ".join(locked) or None
