"""Raspberry Pi: what its firmware tells through `vcgencmd`. A Pi 4 and older measures no power; a Pi 5 the rails behind
its power chip, which is less than what the board draws.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, output, text

RAIL = "PMIC rails (not the board's input)"

NOW = {0: "the supply's voltage is too low", 1: "the clock is capped", 2: "it is throttled", 3: "the soft limit holds"}
SINCE_BOOT = {
    16: "the supply's voltage was too low",
    17: "the clock was capped",
    18: "it was throttled",
    19: "the soft limit on temperature held",
}
"""Bits of `get_throttled`: raspberrypi.com/documentation, "vcgencmd"."""


def is_here(root: Path) -> bool:
    try:
        return text(root / "proc/device-tree/model").startswith("Raspberry Pi")
    except Unreadable:
        return False


def tool(root: Path) -> str | None:
    """Give the path of `vcgencmd`; None where it is not installed."""
    if root == Path("/"):
        return shutil.which("vcgencmd", path="/usr/bin:/usr/local/bin:/opt/vc/bin")
    path = root / "usr/bin/vcgencmd"
    return str(path) if path.is_file() else None


def find(root: Path) -> tuple[list[Sensor], dict[str, str]]:
    """Give the sensor of power, or why there is none."""
    vcgencmd = tool(root)
    if vcgencmd is None:
        return [], {"power": "'vcgencmd' is not installed (apt-get install raspi-utils)"}
    if not text(root / "proc/device-tree/model").startswith(("Raspberry Pi 5", "Raspberry Pi Compute Module 5")):
        return [], {"power": f"a {_board(root)} measures no power"}
    return [Sensor(RAIL, "power", partial(rails_w, vcgencmd))], {}


def rails_w(vcgencmd: str) -> float:
    """Sum voltage times current over every rail that `pmic_read_adc` gives both of, in watts. Raises Unreadable."""
    said = output([vcgencmd, "pmic_read_adc"])
    amperes = dict(re.findall(r"(\w+)_A current\(\d+\)=([\d.]+)A", said))
    volts = dict(re.findall(r"(\w+)_V volt\(\d+\)=([\d.]+)V", said))
    both = amperes.keys() & volts.keys()
    if not both:
        raise Unreadable(f"'vcgencmd pmic_read_adc' names no rail: '{' '.join(said.split())[:60]}'")
    return sum(float(amperes[name]) * float(volts[name]) for name in sorted(both))


def arm_clock_mhz(vcgencmd: str) -> float:
    """Ask the firmware for the real clock of the processor: the kernel's is what it asked for. Raises Unreadable."""
    said = output([vcgencmd, "measure_clock", "arm"])
    match = re.search(r"frequency\(\d+\)=(\d+)", said)
    if match is None or not int(match[1]):
        raise Unreadable(f"'vcgencmd measure_clock arm' says '{said.strip()[:60]}'")
    return int(match[1]) / 1e6


def throttled(vcgencmd: str) -> int:
    """Read the bits of `get_throttled`. Raises Unreadable."""
    said = output([vcgencmd, "get_throttled"])
    match = re.search(r"throttled=0x([0-9a-fA-F]+)", said)
    if match is None:
        raise Unreadable(f"'vcgencmd get_throttled' says '{said.strip()[:60]}'")
    return int(match[1], 16)


def words(bits: int, meanings: dict[int, str]) -> list[str]:
    return [meaning for bit, meaning in meanings.items() if bits >> bit & 1]


def _board(root: Path) -> str:
    return text(root / "proc/device-tree/model").partition(" Rev ")[0]
