"""One sensor: a name, a quantity and a way to read it now; and why it could not be read."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.result.measurement import Quantity

TOOL_S = 2.0
"""How long a board's own tool may take."""


class Unreadable(Exception):
    """A sensor gave no value; the text is the reason. It never leaves this package."""


@dataclass(frozen=True)
class Sensor:
    """Something that can be read again and again, in the unit of `edgekit.result.measurement.UNITS`."""

    name: str
    quantity: Quantity
    read: Callable[[], float]
    """Raises Unreadable."""


def text(path: Path) -> str:
    """Read a small file of the kernel's. Raises Unreadable; strings of the device tree end with a NUL, which goes."""
    try:
        return path.read_bytes().decode(errors="replace").replace("\0", "").strip()
    except OSError as error:
        raise Unreadable(_reason(path, error)) from error


def number(path: Path) -> int:
    """Read a file that holds one whole number. Raises Unreadable."""
    found = text(path)
    try:
        return int(found)
    except ValueError:
        raise Unreadable(f"'{path}' holds '{found[:40]}', which is no number") from None


def output(argv: list[str]) -> str:
    """Give what a tool prints on stdout. Raises Unreadable when it is missing, hangs or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=TOOL_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"'{argv[0]}' gave no answer for {TOOL_S:g} s") from None
    except OSError as error:
        raise Unreadable(f"'{argv[0]}' does not run: {error.strerror}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:120]
        raise Unreadable(f"'{' '.join(argv)}' failed: {said or f'exit code {done.returncode}'}")
    return done.stdout


def listed(folder: Path, pattern: str) -> list[Path]:
    """Give what lies in a folder, in the order of its numbers; nothing where it is absent or closed."""
    try:
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"'{path}' is not there"
    if isinstance(error, PermissionError):
        return f"'{path}' may be read by root only"
    return f"the kernel gives no value for '{path}' ({errno.errorcode.get(error.errno or 0, 'unknown error')})"
