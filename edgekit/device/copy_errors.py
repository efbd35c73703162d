"""What a device says when it cannot take a file, in edgekit's words."""

from __future__ import annotations

from edgekit.device.transport import Completed
from edgekit.errors import DeviceError

FULL = ("No space left on device", "Disk quota exceeded", "Wrote only")
"""How the C library says that a disk is full, and how tar does."""

HINT = "free some space on the device, or set EDGEKIT_DEVICE_DIR to a folder on a larger disk there"


def too_small(what: str, address: str, need_kb: int, free_kb: int) -> DeviceError:
    """Say that there is no room for `what`, found before anything was sent."""
    return DeviceError(
        f"{what} needs {need_kb / 1024:.1f} MB on {address}, where {free_kb / 1024:.1f} MB are free.", hint=HINT
    )


def refused(what: str, address: str, done: Completed) -> DeviceError:
    """Say why `what`, a sentence without its end, failed: the device's last words."""
    said = done.stderr.decode(errors="replace")
    if any(words in said for words in FULL):
        return DeviceError(f"{what} on {address}: its disk is full.", hint=HINT)
    return DeviceError(f"{what} on {address}: {last(done)}.", hint="check the path and its permissions on the device")


def altered(what: str, address: str) -> DeviceError:
    """Say that what arrived is not what was sent."""
    return DeviceError(
        f"{what} arrived altered on {address}: the SHA-256 computed there is another; what arrived was removed.",
        hint="try again; if it stays so, check the board's memory card and power supply",
    )


def last(done: Completed) -> str:
    """Give the last line of a command's stderr, or its exit code where it said nothing."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else f"exit code {done.returncode}"
