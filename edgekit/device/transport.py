"""The protocol of a connection to a device, so that serial lines, containers or a vendor's own tool can be added.

A transport is an entry point in the group `edgekit.transports`, named by the scheme of its addresses: a class with
`api` (the plugin contract's number) and `scheme`, constructed from an address. Its constructor sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, runtime_checkable


@dataclass(frozen=True)
class Completed:
    """A command that ended on the device: its exit code and its output."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


@runtime_checkable
class Transport(Protocol):
    """A connection to one device. Close it, or use it as a context manager.

    Every call has a time limit and raises DeviceError for a device that is unreachable, hangs, is lost or is full. A
    command that ran and failed raises nothing: its return code is in `Completed`.
    """

    address: str
    """As the user wrote it: `ssh://pi@kitchen`."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | IO[bytes] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a command, its words quoted, in the device's home folder; `on_line` receives each line of its stderr.

        `stdin` may be an open file or pipe: it must have a descriptor.
        """
        ...

    def push(self, source: Path, to: str, *, timeout_s: float) -> None:
        """Copy a file, complete or not at all: under a temporary name, its SHA-256 verified there, then renamed."""
        ...

    def fetch(self, source: str, to: Path, *, timeout_s: float) -> None:
        """Copy a file from the device, complete or not at all."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Transport: ...
    def __exit__(self, *exc: object) -> None: ...
