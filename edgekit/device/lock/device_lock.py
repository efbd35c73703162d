"""The one folder on a device that edgekit uses, under a lock: nothing else is changed, and two runs never share it.

    edgekit-device      marks the folder as edgekit's own: only such a folder is used, and removed
    lease               who owns the lock, until when on the device's clock since boot
    jobs/               the processes of running steps
    files/ ...          what is pushed

The lock is a lease, not an open connection: it works over any transport, and expires when its owner is lost. A step
extends it by its own time limit. A step's process ends with its time limit, with the host's process or with the
connection, whichever comes first; the next run ends what is left, and removes what arrived in part.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from edgekit.device import copy_errors, copy_folder
from edgekit.device.lock.lock_owner import LockOwner
from edgekit.device.lock.script import ACQUIRE, CLEAN, COMMON, EXTEND, EXTENDED, OWN, RELEASE, STEP
from edgekit.device.transport import Completed, Transport
from edgekit.errors import DeviceError, UsageError

FOLDER = ".cache/edgekit-device"
"""Below the user's home folder on the device."""

VARIABLE = "EDGEKIT_DEVICE_DIR"
"""Names another folder on the device, for boards whose home is on a small or slow disk."""

IDLE_S = 300
"""How long the lease lasts between two steps, while the host works."""

SLOW_BYTES_S = 100_000
"""The slowest link that a copy is planned for: 100 kB/s."""

FOREIGN = 3
"""The exit code of `CLEAN` for a folder that is not edgekit's alone."""

SHORT_S = 60
"""Time limit of the small commands around the steps."""


class DeviceLock:
    """Exclusive use of edgekit's folder on a device: `with DeviceLock(transport) as lock`.

    Entering raises DeviceError when another run owns the lock; the message names it. Methods take names below the
    folder, and return absolute paths on the device.
    """

    def __init__(
        self, transport: Transport, *, folder: str | None = None, note: Callable[[str], None] | None = None
    ) -> None:
        self.transport = transport
        self._wanted = folder or os.environ.get(VARIABLE) or FOLDER
        self._note = note
        self._token = secrets.token_hex(6)
        self._owner = LockOwner.here()
        self._boot = ""
        self._folder = ""
        self._until = 0.0
        self._pushed: set[str] = set()
        self.sent = 0
        """Bytes of files that were pushed."""

    @property
    def folder(self) -> str:
        """The folder on the device, absolute."""
        if not self._folder:
            raise RuntimeError("a DeviceLock is used inside `with DeviceLock(...)`")
        return self._folder

    @property
    def boot_id(self) -> str:
        """The identity of the device's boot; it changes when the device reboots."""
        return self._boot

    def path(self, name: str) -> str:
        """Return the absolute path of a name in the folder."""
        return f"{self.folder}/{name}"

    def __enter__(self) -> DeviceLock:
        done = self._acquire("")
        words = done.text.split(maxsplit=2)
        if words[:1] == ["held"]:
            owner = LockOwner.parse(done.text.partition("\n")[2])
            if not owner.dead():
                raise self._busy(owner, int(done.text.split()[2]))
            done = self._acquire(words[1])
        lines = done.text.splitlines()
        last = lines[-1].split(maxsplit=2) if lines else []
        if done.returncode or last[:1] != ["acquired"]:
            raise self._not_acquired(done, last)
        _, self._boot, self._folder = last
        self._until = time.monotonic() + IDLE_S
        if self._note:
            for line in lines[:-1]:
                self._note(f"{self.transport.address}: {line}, left behind by an interrupted run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        folder, self._folder = self._folder, ""
        if isinstance(error, DeviceError) and error.context.get("silent"):
            return  # another command would only time out too; the lease expires
        try:
            self._sh(RELEASE, folder, self._token)
        except DeviceError:
            if error is None:
                raise

    def step(
        self,
        name: str,
        argv: Sequence[str],
        *,
        timeout_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run one step of the work in the folder, with no other run beside it, and return its exit code and output.

        It ends with its time limit, with this process or with the connection, whichever comes first. Raises DeviceError
        for a step that exceeded its limit or was lost, for a device that rebooted since the lock was acquired, and for
        a lock that another run took over. A step that ran and failed raises nothing: see its return code.
        """
        reads, writes = os.pipe()
        try:
            # Nothing is ever written: the pipe ends when this process does, and the step with it.
            with os.fdopen(reads, "rb") as alive:
                return self._run(name, STEP, [name, f"{timeout_s:g}", *argv], timeout_s, alive, on_line)
        finally:
            os.close(writes)

    def push(self, source: Path, name: str, *, timeout_s: float = 600) -> str:
        """Copy a file into the folder under `name`, and return its path there."""
        to = self._new(name)
        self._extend(source.stat().st_size, timeout_s)
        self.transport.push(source, to, timeout_s=timeout_s)
        self.sent += source.stat().st_size
        return to

    def push_folder(self, source: Path, name: str, *, timeout_s: float = 600, packed: bool = False) -> str:
        """Copy a folder into the folder as `name`, complete or not at all, and return its path there.

        Files that are there with the same SHA-256 are not sent again; files that `source` lacks are removed. `packed`
        is for a device that has gzip.
        """
        to = self._new(name)
        self._extend(sum(path.stat().st_size for path in source.rglob("*") if path.is_file()), timeout_s)
        self.sent += copy_folder.push(self.transport, source, to, timeout_s=timeout_s, packed=packed)
        return to

    def _new(self, name: str) -> str:
        self._pushed.add(name.partition("/")[0])
        return self.path(name)

    def push_bundle(self, source: Path, *, timeout_s: float = 600) -> str:
        """Copy a bundle into the folder, and return its path there."""
        return self.push_folder(source, f"bundles/{source.resolve().name}", timeout_s=timeout_s)

    def fetch(self, source: str, to: Path, *, timeout_s: float = 600) -> None:
        """Copy a file from the device; `source` is a name in the folder, or absolute."""
        self.transport.fetch(source if source.startswith("/") else self.path(source), to, timeout_s=timeout_s)

    def remove(self, name: str) -> None:
        """Remove a file or folder in the folder."""
        self._sh('rm -rf -- "$1"', self.path(name))

    def clean(self) -> None:
        """Remove the whole folder from the device, with the lock: nothing of edgekit's stays there.

        Raises UsageError, before anything is removed, for a folder that holds what edgekit did not put there.
        """
        done = self._sh(COMMON + CLEAN, self.folder, *OWN, *sorted(self._pushed))
        if done.returncode == FOREIGN:
            raise UsageError(
                f"'{self.folder}' on {self.transport.address} was not removed: {copy_errors.last_line(done)}.",
                hint="move what is yours elsewhere, or remove the folder by hand",
            )
        if done.returncode:
            raise DeviceError(
                f"'{self.folder}' on {self.transport.address} could not be removed: {copy_errors.last_line(done)}.",
                hint="remove it by hand; edgekit uses nothing else there",
            )

    def _acquire(self, steal: str) -> Completed:
        """Acquire the lock where it is free, or where the run with the token `steal` owns it."""
        return self._sh(COMMON + ACQUIRE, self._wanted, self._token, str(IDLE_S), self._owner.line(), steal)

    def _extend(self, size: int, timeout_s: float) -> None:
        """Extend the lease where a copy of `size` bytes may outlast it."""
        if min(timeout_s, size / SLOW_BYTES_S) + SHORT_S > self._until - time.monotonic():
            self._run("copy", EXTENDED, [], timeout_s, None, None)

    def _run(
        self,
        name: str,
        script: str,
        words: Sequence[str],
        timeout_s: float,
        stdin: IO[bytes] | None,
        on_line: Callable[[str], None] | None,
    ) -> Completed:
        """Run one of the lock's scripts with the lease extended to cover it."""
        states: list[list[str]] = []

        def line(text: str) -> None:
            if text.startswith(self._token + " "):
                states.append(text.split(maxsplit=2)[1:])
            elif on_line is not None:
                on_line(text)

        lease_s = int(timeout_s) + IDLE_S
        until = time.monotonic() + lease_s
        lease = [self.folder, self._token, str(lease_s), self._boot, self._owner.line()]
        done = self.transport.run(
            ["/bin/sh", "-c", COMMON + EXTEND + script, "sh", *lease, *words],
            timeout_s=timeout_s + SHORT_S,
            stdin=stdin,
            on_line=line,
        )
        state, *rest = states[-1] if states else [""]
        if state != "ended":
            raise self._no_result(name, timeout_s, state, rest, done)
        self._until = until
        stderr = b"\n".join(row for row in done.stderr.split(b"\n") if not row.startswith(self._token.encode()))
        return Completed(int(rest[0]), done.stdout, stderr)

    def _sh(self, script: str, *words: str) -> Completed:
        return self.transport.run(["/bin/sh", "-c", script, "sh", *words], timeout_s=SHORT_S)

    def _busy(self, owner: LockOwner, left_s: int) -> DeviceError:
        return DeviceError(
            f"{self.transport.address} is in use: {owner}. Two runs at once would both measure wrong.",
            hint=f"wait for it to end; if that run is lost, its lock expires in {left_s} s at the latest",
        )

    def _not_acquired(self, done: Completed, last: list[str]) -> DeviceError | UsageError:
        address = self.transport.address
        if last == ["foreign"]:
            return UsageError(
                f"'{self._wanted}' on {address} is not empty and not edgekit's.",
                hint=f"name an empty or new folder there: {VARIABLE}=/path",
            )
        if last[:1] == ["missing"]:
            return DeviceError(
                f"{address} has no `{last[1]}`, which edgekit needs there.",
                hint="install coreutils, util-linux, findutils and tar on the device (busybox has them as well)",
            )
        if last[:1] == ["held"]:
            return DeviceError(f"{address} was taken by another run just now.", hint="try again")
        return copy_errors.failed(f"edgekit cannot use '{self._wanted}'", address, done)

    def _no_result(self, name: str, timeout_s: float, state: str, rest: list[str], done: Completed) -> DeviceError:
        address = self.transport.address
        if state == "late":
            return DeviceError(
                f"the step '{name}' took longer than its limit of {timeout_s:g} s on {address}, and was ended there.",
                hint="allow it more time, or see what else keeps the board busy",
            )
        if state == "rebooted":
            return DeviceError(
                f"{address} rebooted before the step '{name}': what was measured there before does not count.",
                hint="find the cause (power supply, heat, watchdog: `last -x reboot`), then run again",
            )
        if state == "gone":
            return DeviceError(
                f"'{self._folder}' was removed from {address} before the step '{name}'.",
                hint="run again, without --clean",
            )
        if state == "taken":
            return DeviceError(
                f"{address} was taken over by another run before the step '{name}': {LockOwner.parse(rest[0])}.",
                hint="wait for that run to end, then run again",
            )
        return DeviceError(
            f"the step '{name}' on {address} left no result: {copy_errors.last_line(done)}.",
            hint="the board may be out of disk or memory: df -h, dmesg | tail",
        )
