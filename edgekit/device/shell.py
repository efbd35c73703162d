"""The base of `local` and `ssh`: commands and files through a POSIX shell on the device.

Every command runs under `timeout` there, between two marks. What a login script prints before the first mark is
dropped; the exit code behind the last one distinguishes a command that ended from a connection that was lost. Files go
through `cat`, so only coreutils are needed on the device; its PATH comes after the system's own.
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
"""How long a command that exceeded its time limit may take to end before it is killed."""

GRACE_S = 20.0
"""How long the host waits for an answer beyond a command's own time limit."""

PART = "edgekit-part"
"""The ending of the temporary names under which files arrive."""

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
class ShellResult:
    """The result of one command."""

    returncode: int
    """Of the process here, such as the SSH client."""
    code: int | None
    """Of the command on the device; None when it did not arrive."""
    stderr: bytes
    seconds: float


class Shell:
    """A transport over anything that starts `/bin/sh` on the device; a subclass has `command` and `lost`."""

    address: str

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs `words` on the device, connecting first where that is needed."""
        raise NotImplementedError

    def lost(self, result: ShellResult) -> DeviceError:
        """Return the error of a command whose exit code did not arrive."""
        raise NotImplementedError

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | IO[bytes] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a command, its words quoted, in the device's home folder; `on_line` receives each line of its stderr."""
        stdout = bytearray()
        with _readable(stdin) as source:
            result = self._run(argv, timeout_s, source, stdout.extend, on_line)
        assert result.code is not None  # _run raises for a command that was lost
        return Completed(result.code, bytes(stdout), result.stderr)

    def push(self, source: Path, to: str, *, timeout_s: float) -> None:
        """Copy a file, complete or not at all: under a temporary name, its SHA-256 verified there, then renamed."""
        size_kb = -(-source.stat().st_size // 1024)
        part = f"{to}.{secrets.token_hex(4)}.{PART}"
        script = ["/bin/sh", "-c", PUSH, "sh", to, part, str(size_kb), digest_of_file(source)]
        with source.open("rb") as file:
            done = self.run(script, timeout_s=timeout_s, stdin=file)
        answer = done.text.split()
        if done.returncode == 0 and answer == ["stored"]:
            return
        if answer[:1] == ["full"]:
            raise copy_errors.no_space(f"'{source.name}'", self.address, size_kb, int(answer[1]))
        if answer == ["corrupt"]:
            raise copy_errors.altered(f"'{source.name}'", self.address)
        raise copy_errors.failed(f"'{source.name}' could not be written to '{to}'", self.address, done)

    def fetch(self, source: str, to: Path, *, timeout_s: float) -> None:
        """Copy a file from the device, complete or not at all."""
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

                result = self._run(["/bin/sh", "-c", FETCH, "sh", source], timeout_s, subprocess.DEVNULL, sink, None)
            if result.code:
                done = Completed(result.code, b"", result.stderr)
                raise copy_errors.failed(f"'{source}' could not be read", self.address, done)
            if digest_of_file(part) != head.decode(errors="replace").strip():
                raise DeviceError(
                    f"'{source}' on {self.address} arrived altered: its SHA-256 differs.", hint="try again"
                )
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None: ...

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(
        self,
        argv: Sequence[str],
        timeout_s: float,
        stdin: IO[bytes] | int,
        sink: Callable[[bytes], object],
        on_line: Callable[[str], None] | None,
    ) -> ShellResult:
        mark = f"edgekit-{secrets.token_hex(8)}"
        command = self.command(["/bin/sh", "-c", WRAP, "sh", mark, f"{timeout_s:g}", *argv])
        name = shlex.join(argv[:1] if argv[0] != "/bin/sh" else ["a step of edgekit"])
        try:
            result = _run_here(command, mark, timeout_s + KILL_AFTER_S + GRACE_S, stdin, sink, on_line)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"{self.address} does not answer: nothing came back from {name} within its limit of {timeout_s:g} s.",
                hint="check that the board is running; what still runs there ends by its own time limit",
                silent=True,
            ) from error
        if result.code in (124, 137) and result.seconds >= timeout_s:
            raise DeviceError(
                f"{name} took longer than its limit of {timeout_s:g} s on {self.address}, and was ended there.",
                hint="allow it more time, or see what keeps the board busy: ps aux",
            )
        if result.code == 127 and b"timeout: not found" in result.stderr:
            raise DeviceError(
                f"{self.address} has no `timeout`, and edgekit runs nothing there without a time limit.",
                hint="install coreutils (or busybox) on the device",
            )
        if result.code is None:
            raise self.lost(result)
        return result


def _run_here(
    command: Sequence[str],
    mark: str,
    limit_s: float,
    stdin: IO[bytes] | int,
    sink: Callable[[bytes], object],
    on_line: Callable[[str], None] | None,
) -> ShellResult:
    """Run `command` here; its stdout goes to `sink` and each line of its stderr to `on_line` as they arrive."""
    started = time.monotonic()
    stdout, stderr = _Stdout(mark.encode(), sink), _Stderr(mark, on_line)
    # In its own session: Ctrl-C in the terminal reaches edgekit alone, which still has a connection to clean up over.
    process = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None and process.stderr is not None  # they are pipes
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, stdout)
            selector.register(process.stderr, selectors.EVENT_READ, stderr)
            while selector.get_map():
                left_s = started + limit_s - time.monotonic()
                if left_s <= 0:
                    raise subprocess.TimeoutExpired(list(command), limit_s)
                ready = selector.select(min(left_s, 0.5))
                if not ready and process.poll() is not None:
                    break  # a process that the command left behind keeps a stream open
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if data:
                        key.data.feed(data)
                    else:
                        selector.unregister(key.fileobj)
        process.wait(max(0.1, started + limit_s - time.monotonic()))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
    stderr.end()
    return ShellResult(process.returncode, stderr.code, bytes(stderr.kept), time.monotonic() - started)


class _Stdout:
    """Passes on what follows the mark."""

    def __init__(self, mark: bytes, sink: Callable[[bytes], object]) -> None:
        self._mark, self._sink, self._before = mark + b"\n", sink, bytearray()
        self._started = False

    def feed(self, data: bytes) -> None:
        if self._started:
            self._sink(data)
            return
        self._before += data
        at = self._before.find(self._mark)
        if at >= 0:
            self._started = True
            if rest := bytes(self._before[at + len(self._mark) :]):
                self._sink(rest)


class _Stderr:
    """Keeps what is between the marks, passes each line on, and reads the exit code behind the last mark.

    Where the first mark is missing everything is kept: it is the transport's own error message.
    """

    def __init__(self, mark: str, on_line: Callable[[str], None] | None) -> None:
        self._mark, self._on_line, self._rest = mark.encode(), on_line, b""
        self._started = False
        self.kept = bytearray()
        self.code: int | None = None

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == self._mark:
                self._started = True
                self.kept.clear()
            elif line.startswith(self._mark + b" "):
                self.code = int(line.split()[-1])
                self.kept = self.kept[:-1]  # WRAP prints the line break before the mark
            elif self.code is None:
                self.kept += line + b"\n"
                if self._started and self._on_line is not None and line.strip():
                    self._on_line(line.decode(errors="replace").rstrip("\r"))

    def end(self) -> None:
        if self._rest and self.code is None:
            self.kept += self._rest


@contextlib.contextmanager
def _readable(stdin: bytes | IO[bytes] | None) -> Iterator[IO[bytes] | int]:
    """Yield a stream that a process can read; bytes become a temporary file, as a pipe would need a writer."""
    if stdin is None:
        yield subprocess.DEVNULL
    elif isinstance(stdin, bytes):
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            yield file
    else:
        yield stdin
