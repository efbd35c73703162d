"""The transport `local`, and with it what the transports share: marks, time limits, complete files."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgekit.device import Transport, connect
from edgekit.device.local import Local
from edgekit.errors import DeviceError, UsageError
from tests.wording import raises


@pytest.fixture
def here():
    with connect("local:") as transport:
        yield transport


def test_it_is_a_transport(here: Transport) -> None:
    assert isinstance(here, Transport)
    assert here.address == "local:"


def test_words_arrive_as_they_are(here: Transport) -> None:
    words = ["a b", "$HOME", "it's", 'say "x"', "*", "", "-n", "line\nbreak"]
    done = here.run(["/usr/bin/printf", "<%s>", *words], timeout_s=10)
    assert done.returncode == 0
    assert done.text == "".join(f"<{word}>" for word in words)


def test_a_command_that_fails_raises_nothing(here: Transport) -> None:
    done = here.run(["/bin/sh", "-c", "echo out; echo why >&2; exit 255"], timeout_s=10)
    assert (done.returncode, done.stdout, done.stderr) == (255, b"out\n", b"why\n")


def test_lines_of_stderr_are_passed_on_as_they_arrive(here: Transport, tmp_path: Path) -> None:
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        (tmp_path / "seen").touch()

    script = 'echo first >&2; until [ -e "$1" ]; do sleep 0.05; done; printf second >&2'
    done = here.run(["/bin/sh", "-c", script, "sh", str(tmp_path / "seen")], timeout_s=60, on_line=on_line)
    assert lines == ["first", "second"], "the second is written after the first one arrived"
    assert done.stderr == b"first\nsecond"


def test_bytes_and_files_can_be_stdin(here: Transport, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    assert here.run(["cat"], timeout_s=10, stdin=data).stdout == data
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as file:
        assert here.run(["cat"], timeout_s=10, stdin=file).stdout == data


def test_a_command_that_exceeds_its_limit_is_ended(here: Transport) -> None:
    started = time.monotonic()
    with raises(DeviceError, "sleep", "1 s", "local:") as caught:
        here.run(["sleep", "60"], timeout_s=1)
    assert time.monotonic() - started < 50
    assert caught.value.hint


def test_files_go_both_ways(here: Transport, tmp_path: Path) -> None:
    source, there, back = tmp_path / "source", tmp_path / "a new folder" / "there", tmp_path / "back"
    source.write_bytes(os.urandom(200_000))
    here.push(source, str(there), timeout_s=10)
    here.fetch(str(there), back, timeout_s=10)
    assert there.read_bytes() == back.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["back", "source", "there"]


def test_an_empty_file_is_a_file(here: Transport, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    here.push(tmp_path / "empty", str(tmp_path / "there"), timeout_s=10)
    here.fetch(str(tmp_path / "there"), tmp_path / "back", timeout_s=10)
    assert (tmp_path / "back").read_bytes() == b""


def test_a_file_that_cannot_be_read_or_written_is_an_error(here: Transport, tmp_path: Path) -> None:
    with raises(DeviceError, "'/no/such'", "local:", "No such file"):
        here.fetch("/no/such", tmp_path / "back", timeout_s=10)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with raises(DeviceError, "'file'", "file/below'", "local:"):
        here.push(tmp_path / "file", f"{tmp_path}/file/below", timeout_s=10)


class Noisy(Local):
    """A device whose login scripts print: .bashrc with an echo, a banner."""

    def command(self, words: Sequence[str]) -> list[str]:
        return ["/bin/sh", "-c", 'echo welcome; echo "last login: today" >&2; exec "$@"', "sh", *words]


def test_what_login_scripts_print_is_dropped(tmp_path: Path) -> None:
    lines: list[str] = []
    device = Noisy("local:")
    done = device.run(["/bin/sh", "-c", "echo out; echo why >&2"], timeout_s=10, on_line=lines.append)
    assert (done.stdout, done.stderr, lines) == (b"out\n", b"why\n", ["why"])
    (tmp_path / "file").write_bytes(b"welcome\n\0" * 1000)
    device.push(tmp_path / "file", str(tmp_path / "there"), timeout_s=10)
    device.fetch(str(tmp_path / "there"), tmp_path / "back", timeout_s=10)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


def test_a_command_that_is_killed_with_its_shell_is_an_error(here: Transport) -> None:
    with raises(DeviceError, "local:", "-9"):
        here.run(["/bin/sh", "-c", 'read -r _ name _ parent _ </proc/$PPID/stat; kill -9 "$parent"'], timeout_s=10)


@pytest.mark.parametrize(
    "address",
    ["ssh://", "ssh://-oProxyCommand=touch", "ssh://u:secret@host", "ssh://host/path", "ssh://a b:x", "local:x"],
)
def test_bad_addresses_are_refused(address: str) -> None:
    with raises(UsageError, f"'{address}'", "address") as caught:
        connect(address)
    assert caught.value.hint


def test_unknown_schemes_are_refused_with_the_known_ones() -> None:
    with raises(UsageError, ("'shh'", "'ssh'")) as caught:
        connect("shh://pi@kitchen")
    assert "local, ssh" in (caught.value.hint or "")
    with raises(UsageError, "'pi@kitchen'", hint=("ssh://", "local:")):
        connect("pi@kitchen")


def test_an_unknown_host_is_an_error() -> None:
    board = connect("ssh://pi@no-such-board.invalid")
    with raises(DeviceError, "'no-such-board.invalid'", hint="IP address") as caught:
        board.run(["true"], timeout_s=5)
    assert caught.value.exit_code == 7
