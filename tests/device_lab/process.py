"""Inspect processes: their children, those of a name space, their command lines; and find a free port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def below(pid: int) -> list[int]:
    """Return every process of the name space whose first process is `pid`."""
    try:
        space = Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return []
    pids = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int(path.name) != pid and (path / "ns/pid").readlink() == space:
                pids.append(int(path.name))
        except OSError:
            continue
    return pids


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
