"""One sensor: its name, its quantity, and how to read it; and the reasons why it cannot be read."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.result.measurement import Quantity

TOOL_S = 2.0
"""The time limit of a board's own tool."""


class Unreadable(Exception):
    """A sensor has no value now; the text is the reason. It never leaves this package."""


@dataclass(frozen=True)
class Sensor:
    """A sensor that can be read repeatedly, in the unit of `edgekit.result.measurement.UNITS`."""

    name: str
    quantity: Quantity
    read: Callable[[], float]
    """Raises Unreadable."""


def text(path: Path) -> str:
    """Return a small kernel file's text, without the NUL at the end of the device tree's strings. Raises Unreadable."""
    try:
        return path.read_bytes().decode(errors="replace").replace("\0", "").strip()
    except OSError as error:
        raise Unreadable(_reason(path, error)) from error


def number(path: Path) -> int:
    """Return the integer in a file. Raises Unreadable."""
    content = text(path)
    try:
        return int(content)
    except ValueError:
        raise Unreadable(f"'{path}' contains '{content[:40]}', which is not a number") from None


def output(argv: list[str]) -> str:
    """Return what a tool prints to stdout. Raises Unreadable when it is missing, hangs or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=TOOL_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"'{argv[0]}' did not answer within {TOOL_S:g} s") from None
    except OSError as error:
        raise Unreadable(f"'{argv[0]}' does not run: {error.strerror}") from error
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[:120]
        raise Unreadable(f"'{' '.join(argv)}' failed: {reason or f'exit code {done.returncode}'}")
    return done.stdout


def entries(folder: Path, pattern: str) -> list[Path]:
    """Return the entries of a folder in numeric order; none where it does not exist or cannot be read."""
    try:
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"'{path}' does not exist"
    if isinstance(error, PermissionError):
        return f"only root may read '{path}'"
    return f"the kernel has no value for '{path}' ({errno.errorcode.get(error.errno or 0, 'unknown error')})"
