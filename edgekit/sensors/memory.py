"""The memory that is available on the whole machine: where a GPU shares it, the only number that includes both."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.sensors.reading import Sensor, Unreadable, text


def find(root: Path) -> list[Sensor]:
    return [Sensor("available", "memory", partial(available_mb, root / "proc/meminfo"))]


def available_mb(path: Path) -> float:
    """Return the kernel's estimate of what a new program could allocate, in MB of 10^6 bytes. Raises Unreadable."""
    for line in text(path).splitlines():
        words = line.split()
        if words[:1] == ["MemAvailable:"] and words[1].isdigit():
            return int(words[1]) * 1024 / 1e6
    raise Unreadable(f"'{path}' has no MemAvailable")
