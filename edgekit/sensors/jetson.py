"""NVIDIA Jetson: the INA3221 power monitors under hwmon, and the power mode. (NVML answers "not supported" there.)"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, entries, number, output, text

TOTALS = ("VDD_IN", "POM_5V_IN")
"""The rails of all that the module draws: Orin NX and Nano and Xavier NX; Nano. Other modules have none."""

CHANNELS = (1, 2, 3)
"""An INA3221 has three; higher numbers under hwmon are sums that the driver computes."""


def find(root: Path) -> tuple[list[Sensor], dict[str, str]]:
    """Return the power sensor of each rail, the total first, and why other rails are not among them.

    Where no rail carries the total, the sum of all rails is the first: each carries a part, and none contains another.
    """
    rails: list[Sensor] = []
    absent: dict[str, str] = {}
    for chip in entries(root / "sys/class/hwmon", "hwmon*"):
        try:
            if text(chip / "name") != "ina3221":
                continue
        except Unreadable:
            continue
        for channel in CHANNELS:
            where = f"{chip.name} channel {channel}"
            try:
                label = text(chip / f"in{channel}_label")
            except Unreadable as reason:
                absent[where] = f"what it measures is unknown: {reason}"
                continue
            if label == "NC" or not label:  # not connected
                continue
            rails.append(Sensor(label, "power", partial(watts, chip, channel)))
    rails.sort(key=lambda rail: rail.name not in TOTALS)
    if rails and rails[0].name not in TOTALS and len(rails) > 1:
        rails.insert(0, Sensor(" + ".join(rail.name for rail in rails), "power", partial(_sum, tuple(rails))))
    return rails, absent


def watts(chip: Path, channel: int) -> float:
    """Return a channel's power in W, its voltage (mV) times its current (mA). Raises Unreadable."""
    millivolts = number(chip / f"in{channel}_input")
    if millivolts <= 0:
        raise Unreadable(f"'{chip / f'in{channel}_input'}' contains {millivolts} mV")
    return millivolts * number(chip / f"curr{channel}_input") / 1e6


def power_mode(root: Path) -> str | None:
    """Return the power mode that `nvpmodel` prints, such as `15W`; None where it is not installed or prints none."""
    path = shutil.which("nvpmodel", path="/usr/sbin:/usr/bin") if root == Path("/") else root / "usr/sbin/nvpmodel"
    if path is None or not Path(path).is_file():
        return None
    try:
        printed = output([str(path), "-q"])
    except Unreadable:
        return None
    return next((line.partition(":")[2].strip() for line in printed.splitlines() if "Power Mode:" in line), None)


def _sum(rails: Sequence[Sensor]) -> float:
    return sum(rail.read() for rail in rails)
