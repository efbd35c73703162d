"""The errors of copying files to and from a device."""

from __future__ import annotations

from edgekit.device.transport import Completed
from edgekit.errors import DeviceError

FULL = ("No space left on device", "Disk quota exceeded", "Wrote only")
"""What the C library, and tar, print when a disk is full."""

HINT = "free some space on the device, or set EDGEKIT_DEVICE_DIR to a folder on a larger disk there"


def no_space(what: str, address: str, need_kb: int, free_kb: int) -> DeviceError:
    """Return the error that `what` does not fit on the device; nothing was sent yet."""
    return DeviceError(
        f"{what} needs {need_kb / 1024:.1f} MB on {address}, where {free_kb / 1024:.1f} MB are free.", hint=HINT
    )


def failed(what: str, address: str, done: Completed) -> DeviceError:
    """Return the error of a failed copy; `what` is a sentence without its end, such as `'a' could not be read`."""
    stderr = done.stderr.decode(errors="replace")
    if any(words in stderr for words in FULL):
        return DeviceError(f"{what} on {address}: its disk is full.", hint=HINT)
    return DeviceError(
        f"{what} on {address}: {last_line(done)}.", hint="check the path and its permissions on the device"
    )


def altered(what: str, address: str) -> DeviceError:
    """Return the error that the bytes that arrived differ from those that were sent."""
    return DeviceError(
        f"{what} arrived altered on {address}: the SHA-256 computed there differs; the copy was removed.",
        hint="try again; if it happens again, check the board's memory card and power supply",
    )


def last_line(done: Completed) -> str:
    """Return the last line of a command's stderr, or its exit code where stderr is empty."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else f"exit code {done.returncode}"
