"""The run that owns a device's lock: named in the error of another run, and found dead by its own machine."""

from __future__ import annotations

import getpass
import json
import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgekit._record import Record
from edgekit.errors import UsageError


@dataclass(frozen=True)
class LockOwner(Record):
    """A process, on this or another machine, that acquired a device's lock."""

    user: str
    machine: str
    pid: int
    started: str
    """When that process started, by its kernel, with the boot and name space of its number: numbers are used again."""
    since: str
    """In UTC, by that machine's clock."""

    @classmethod
    def here(cls) -> LockOwner:
        """Return this process."""
        return cls(
            user=_user(),
            machine=platform.node(),
            pid=os.getpid(),
            started=_started(os.getpid()) or "",
            since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    @classmethod
    def parse(cls, line: str) -> LockOwner:
        """Return the owner that `line` wrote; for an unreadable line an unknown one."""
        try:
            return cls.from_dict(json.loads(line))
        except (ValueError, UsageError):
            return cls(user="somebody", machine="an unknown machine", pid=0, started="", since="an unknown time")

    def line(self) -> str:
        """Return the form that is stored on the device: one line of JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def dead(self) -> bool:
        """Return whether it was a process of this machine and has ended; False also where that cannot be determined."""
        here = _started(os.getpid())
        if self.machine != platform.node() or here is None or self.started.split()[1:] != here.split()[1:]:
            return False
        return _started(self.pid) != self.started

    def __str__(self) -> str:
        return f"{self.user}@{self.machine} (process {self.pid}) has it since {self.since}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _started(pid: int) -> str | None:
    """Return the process's start in clock ticks since boot, this machine's boot and the process's name space."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except (OSError, IndexError):
        return None
    return f"{ticks} {boot} {space}"
