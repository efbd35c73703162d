"""What `local` and `ssh` share: a POSIX shell at the other end, and how commands and files go through it.

Every command runs under `timeout` there, between two marks: what a login script prints before the first is dropped, and
the exit code behind the last tells a command that ended from a connection that was lost. Files go through `cat`, so
nothing beside coreutils is needed on the device; its PATH comes after the system's own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekit._record import digest_of_file
from edgekit.device import copy_errors
from edgekit.device.transport import Completed
from edgekit.errors import DeviceError

KILL_AFTER_S = 5
"""How long a command that ran out of time may take to end before it is killed."""

GRACE_S = 20.0
"""What the device is given beyond a command's own limit, before the host gives up."""

PART = "edgekit-part"
"""The ending of names under which files arrive."""

WRAP = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH; LC_ALL=C; export PATH LC_ALL; "
    'mark=$1 limit=$2; shift 2; cd; echo "$mark"; echo "$mark" >&2; '
    f'timeout -k {KILL_AFTER_S} "$limit" "$@"; code=$?; printf "\\n%s %s\\n" "$mark" "$code" >&2; exit "$code"'
)

PUSH = r"""
to=$1 part=$2 need=$3 sum=$4 folder=$(dirname -- "$1")
mkdir -p -- "$folder" || exit 1
free=$(df -Pk -- "$folder" | { read -r _; read -r _ _ _ kb _; echo "$kb"; })
case $free in
  ''|*[!0-9]*) ;;
  *) [ "$free" -ge "$need" ] || { echo "full $free"; exit 0; } ;;
esac
trap 'rm -f -- "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat >"$part" || exit 1
set -- $(sha256sum <"$part")
[ "$1" = "$sum" ] || { echo "corrupt"; exit 0; }
mv -f -- "$part" "$to" && echo "stored"
"""

FETCH = r"""
set -- "$1" $(sha256sum <"$1") || exit 1
[ -n "$2" ] || exit 1
printf '%s\n' "$2"
exec cat -- "$1"
"""


@dataclass(frozen=True)
class Spoken:
    """What came back of one command: `code` is None when the device did not live to tell it."""

    returncode: int
    code: int | None
    stderr: bytes
    seconds: float


class Shell:
    """A transport over anything that starts `/bin/sh` on the device: `command` says how, `lost` what its end means."""

    address: str

    def command(self, words: Sequence[str]) -> list[str]:
        """Give the command that runs `words` on the device, connecting first where that is needed."""
        raise NotImplementedError

    def lost(self, spoken: Spoken) -> DeviceError:
        """Say why a command did not live to tell its exit code."""
        raise NotImplementedError

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | IO[bytes] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a command, its words quoted, in the device's home folder; `on_line` is told each line of its stderr."""
        out = bytearray()
        with _readable(stdin) as source:
            spoken = self._speak(argv, timeout_s, source, out.extend, on_line)
        assert spoken.code is not None  # _speak raises for a command that was lost
        return Completed(spoken.code, bytes(out), spoken.stderr)

    def push(self, source: Path, to: str, *, timeout_s: float) -> None:
        """Copy a file, whole or not at all: under a temporary name, its SHA-256 compared there, then renamed."""
        size_kb = -(-source.stat().st_size // 1024)
        part = f"{to}.{secrets.token_hex(4)}.{PART}"
        script = ["/bin/sh", "-c", PUSH, "sh", to, part, str(size_kb), digest_of_file(source)]
        with source.open("rb") as file:
            done = self.run(script, timeout_s=timeout_s, stdin=file)
        answer = done.text.split()
        if done.returncode == 0 and answer == ["stored"]:
            return
        if answer[:1] == ["full"]:
            raise copy_errors.too_small(f"'{source.name}'", self.address, size_kb, int(answer[1]))
        if answer == ["corrupt"]:
            raise copy_errors.altered(f"'{source.name}'", self.address)
        raise copy_errors.refused(f"'{source.name}' could not be written to '{to}'", self.address, done)

    def fetch(self, source: str, to: Path, *, timeout_s: float) -> None:
        """Copy a file from the device, whole or not at all."""
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f".{to.name}.{secrets.token_hex(4)}.{PART}")
        head = bytearray()
        try:
            with part.open("wb") as file:

                def sink(data: bytes) -> None:
                    if b"\n" in head:
                        file.write(data)
                        return
                    head.extend(data)
                    if b"\n" in head:
                        at = head.index(b"\n") + 1
                        file.write(head[at:])
                        del head[at:]

                spoken = self._speak(["/bin/sh", "-c", FETCH, "sh", source], timeout_s, subprocess.DEVNULL, sink, None)
            if spoken.code:
                done = Completed(spoken.code, b"", spoken.stderr)
                raise copy_errors.refused(f"'{source}' could not be read", self.address, done)
            if digest_of_file(part) != head.decode(errors="replace").strip():
                raise DeviceError(
                    f"'{source}' on {self.address} arrived altered: its SHA-256 is another.", hint="try again"
                )
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None: ...

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _speak(
        self,
        argv: Sequence[str],
        timeout_s: float,
        stdin: IO[bytes] | int,
        sink: Callable[[bytes], object],
        on_line: Callable[[str], None] | None,
    ) -> Spoken:
        mark = f"edgekit-{secrets.token_hex(8)}"
        command = self.command(["/bin/sh", "-c", WRAP, "sh", mark, f"{timeout_s:g}", *argv])
        what = shlex.join(argv[:1] if argv[0] != "/bin/sh" else ["a step of edgekit"])
        try:
            spoken = _converse(command, mark, timeout_s + KILL_AFTER_S + GRACE_S, stdin, sink, on_line)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"{self.address} does not answer: {what} was given {timeout_s:g} s and nothing came back.",
                hint="check that the board is alive; what still runs there ends by its own time limit",
                silent=True,
            ) from error
        if spoken.code in (124, 137) and spoken.seconds >= timeout_s:
            raise DeviceError(
                f"{what} took longer than the {timeout_s:g} s it was given on {self.address}, and was ended there.",
                hint="give it more time, or see what keeps the board busy: ps aux",
            )
        if spoken.code == 127 and b"timeout: not found" in spoken.stderr:
            raise DeviceError(
                f"{self.address} has no `timeout`, and nothing runs there without a time limit.",
                hint="install coreutils (or busybox) on the device",
            )
        if spoken.code is None:
            raise self.lost(spoken)
        return spoken


def _converse(
    command: Sequence[str],
    mark: str,
    limit_s: float,
    stdin: IO[bytes] | int,
    sink: Callable[[bytes], object],
    on_line: Callable[[str], None] | None,
) -> Spoken:
    """Run `command` here, its output to `sink` and its messages to `on_line` as they come."""
    started = time.monotonic()
    out, messages = _Stdout(mark.encode(), sink), _Stderr(mark, on_line)
    # An own session: Ctrl-C in the terminal reaches edgekit alone, which then still has a connection to clean up over.
    process = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None and process.stderr is not None  # they are pipes
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, out)
            selector.register(process.stderr, selectors.EVENT_READ, messages)
            while selector.get_map():
                left_s = started + limit_s - time.monotonic()
                if left_s <= 0:
                    raise subprocess.TimeoutExpired(list(command), limit_s)
                ready = selector.select(min(left_s, 0.5))
                if not ready and process.poll() is not None:
                    break  # a process that the command left behind still holds a stream
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if data:
                        key.data.take(data)
                    else:
                        selector.unregister(key.fileobj)
        process.wait(max(0.1, started + limit_s - time.monotonic()))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
    messages.end()
    return Spoken(process.returncode, messages.code, bytes(messages.kept), time.monotonic() - started)


class _Stdout:
    """Passes on what comes after the mark."""

    def __init__(self, mark: bytes, sink: Callable[[bytes], object]) -> None:
        self._mark, self._sink, self._before = mark + b"\n", sink, bytearray()
        self._begun = False

    def take(self, data: bytes) -> None:
        if self._begun:
            self._sink(data)
            return
        self._before += data
        at = self._before.find(self._mark)
        if at >= 0:
            self._begun = True
            if rest := bytes(self._before[at + len(self._mark) :]):
                self._sink(rest)


class _Stderr:
    """Keeps what comes between the marks, tells each line, and reads the exit code behind the last mark.

    What comes when there is no first mark is kept as well: it is the transport's own complaint.
    """

    def __init__(self, mark: str, on_line: Callable[[str], None] | None) -> None:
        self._mark, self._on_line, self._rest = mark.encode(), on_line, b""
        self._begun = False
        self.kept = bytearray()
        self.code: int | None = None

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == self._mark:
                self._begun = True
                self.kept.clear()
            elif line.startswith(self._mark + b" "):
                self.code = int(line.split()[-1])
                self.kept = self.kept[:-1]  # the line break before the mark is ours
            elif self.code is None:
                self.kept += line + b"\n"
                if self._begun and self._on_line is not None and line.strip():
                    self._on_line(line.decode(errors="replace").rstrip("\r"))

    def end(self) -> None:
        if self._rest and self.code is None:
            self.kept += self._rest


@contextlib.contextmanager
def _readable(stdin: bytes | IO[bytes] | None) -> Iterator[IO[bytes] | int]:
    """Give something that a process can read from; bytes through a file, as a pipe would need a writer."""
    if stdin is None:
        yield subprocess.DEVNULL
    elif isinstance(stdin, bytes):
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            yield file
    else:
        yield stdin
