"""Raspberry Pi: the firmware's values, read through `vcgencmd`.

A Pi 4 and older measures no power; a Pi 5 measures the rails behind its power chip, which is less than the board draws.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, output, text

RAIL = "PMIC rails (not the board's input)"

NOW = {
    0: "the supply's voltage is too low",
    1: "the clock is capped",
    2: "it is throttled",
    3: "the soft limit on temperature is active",
}
SINCE_BOOT = {
    16: "the supply's voltage was too low",
    17: "the clock was capped",
    18: "it was throttled",
    19: "the soft limit on temperature was active",
}
"""Bits of `get_throttled`: raspberrypi.com/documentation, "vcgencmd"."""


def is_raspberry_pi(root: Path) -> bool:
    try:
        return text(root / "proc/device-tree/model").startswith("Raspberry Pi")
    except Unreadable:
        return False


def tool(root: Path) -> str | None:
    """Return the path of `vcgencmd`; None where it is not installed."""
    if root == Path("/"):
        return shutil.which("vcgencmd", path="/usr/bin:/usr/local/bin:/opt/vc/bin")
    path = root / "usr/bin/vcgencmd"
    return str(path) if path.is_file() else None


def find(root: Path) -> tuple[list[Sensor], dict[str, str]]:
    """Return the power sensor, or why there is none."""
    vcgencmd = tool(root)
    if vcgencmd is None:
        return [], {"power": "'vcgencmd' is not installed (apt-get install raspi-utils)"}
    if not text(root / "proc/device-tree/model").startswith(("Raspberry Pi 5", "Raspberry Pi Compute Module 5")):
        return [], {"power": f"a {_board(root)} measures no power"}
    return [Sensor(RAIL, "power", partial(rails_w, vcgencmd))], {}


def rails_w(vcgencmd: str) -> float:
    """Return voltage times current in W, summed over every rail that `pmic_read_adc` prints both of.

    Raises Unreadable.
    """
    printed = output([vcgencmd, "pmic_read_adc"])
    amperes = dict(re.findall(r"(\w+)_A current\(\d+\)=([\d.]+)A", printed))
    volts = dict(re.findall(r"(\w+)_V volt\(\d+\)=([\d.]+)V", printed))
    both = amperes.keys() & volts.keys()
    if not both:
        raise Unreadable(f"'vcgencmd pmic_read_adc' prints no rail: '{' '.join(printed.split())[:60]}'")
    return sum(float(amperes[name]) * float(volts[name]) for name in sorted(both))


def arm_clock_mhz(vcgencmd: str) -> float:
    """Return the processor's real clock, by the firmware: the kernel's is the requested one. Raises Unreadable."""
    printed = output([vcgencmd, "measure_clock", "arm"])
    match = re.search(r"frequency\(\d+\)=(\d+)", printed)
    if match is None or not int(match[1]):
        raise Unreadable(f"'vcgencmd measure_clock arm' prints '{printed.strip()[:60]}'")
    return int(match[1]) / 1e6


def throttled(vcgencmd: str) -> int:
    """Return the bits of `get_throttled`. Raises Unreadable."""
    printed = output([vcgencmd, "get_throttled"])
    match = re.search(r"throttled=0x([0-9a-fA-F]+)", printed)
    if match is None:
        raise Unreadable(f"'vcgencmd get_throttled' prints '{printed.strip()[:60]}'")
    return int(match[1], 16)


def meanings_of(bits: int, meanings: dict[int, str]) -> list[str]:
    """Return the meanings of the bits that are set."""
    return [meaning for bit, meaning in meanings.items() if bits >> bit & 1]


def _board(root: Path) -> str:
    return text(root / "proc/device-tree/model").partition(" Rev ")[0]
