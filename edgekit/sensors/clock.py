"""Clocks: cpufreq's policies, one for each cluster of cores, and devfreq for graphics and memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, listed, number

CPUFREQ = "sys/devices/system/cpu/cpufreq"


def find(root: Path) -> list[Sensor]:
    """Give every clock below `root`."""
    policies = [
        Sensor(policy.name, "clock", partial(megahertz, policy / "scaling_cur_freq", 1000))
        for policy in listed(root / CPUFREQ, "policy*")
    ]
    devices = [
        Sensor(device.name, "clock", partial(megahertz, device / "cur_freq", 1_000_000))
        for device in listed(root / "sys/class/devfreq", "*")
    ]
    return policies + devices


def megahertz(path: Path, per_mhz: int) -> float:
    """Read a clock. Raises Unreadable for 0, which a driver says of a part that it has switched off."""
    value = number(path)
    if value <= 0:
        raise Unreadable(f"'{path}' says {value}")
    return value / per_mhz


def locked(root: Path) -> str | None:
    """Say at which clock each policy is held (least and greatest are the same, as after `jetson_clocks`); None where
    they may move.
    """
    held = []
    for policy in listed(root / CPUFREQ, "policy*"):
        try:
            least, most = (number(policy / f"scaling_{end}_freq") for end in ("min", "max"))
        except Unreadable:
            return None
        if least != most:
            return None
        held.append(f"{policy.name} at {most // 1000} MHz")
    return ", ".join(held) or None
