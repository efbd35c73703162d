"""Who has a board: told to whoever finds it in use, and how this machine knows that its own run is dead."""

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
class Holder(Record):
    """A process on some machine that took a board."""

    user: str
    machine: str
    pid: int
    started: str
    """The kernel's word for when that process started, and where its number counts: numbers are used again."""
    since: str
    """UTC, by that machine's clock."""

    @classmethod
    def here(cls) -> Holder:
        """Describe this process."""
        return cls(
            user=_user(),
            machine=platform.node(),
            pid=os.getpid(),
            started=_started(os.getpid()) or "",
            since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    @classmethod
    def parse(cls, line: str) -> Holder:
        """Read what `line` wrote; an unreadable one is somebody unknown."""
        try:
            return cls.from_dict(json.loads(line))
        except (ValueError, UsageError):
            return cls(user="somebody", machine="an unknown machine", pid=0, started="", since="an unknown time")

    def line(self) -> str:
        """Give the form that is kept on the board: one line of JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def dead(self) -> bool:
        """Say whether it was a process of this machine and has ended. False also when that cannot be known."""
        mine = _started(os.getpid())
        if self.machine != platform.node() or mine is None or self.started.split()[1:] != mine.split()[1:]:
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
    """Give the process's start in clock ticks since boot, this machine's boot and the process's name space."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except (OSError, IndexError):
        return None
    return f"{ticks} {boot} {space}"
