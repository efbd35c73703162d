"""The faults of connections and steps on a board: each is named, ends with exit code 7, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.device import Completed, DeviceLock, connect
from edgekit.errors import DeviceError
from tests.device_lab.board import EmulatedBoard
from tests.device_lab.expect import left_here, refused
from tests.device_lab.image import Unavailable
from tests.device_lab.lab import Lab
from tests.device_lab.process import words
from tests.wording import mentions

pytestmark = pytest.mark.slow

LONG = ["/bin/sh", "-c", "echo running >&2; exec sleep 300"]


def until(condition: Callable[[], bool], limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def left_on(board: EmulatedBoard) -> list[str]:
    """Return the running jobs of steps: `sleep 300` and what started it."""
    return [words for words in board.processes() if "sleep 300" in words]


def ssh_clients(pid: int) -> list[str]:
    """Return the SSH clients that a process started: the command line of each has the folder of its connection."""
    mark = f"/tmp/edgekit-{pid}-"
    return [line for path in Path("/proc").glob("[0-9]*") if mark in (line := words(int(path.name)))]


def look(board: EmulatedBoard) -> Completed:
    with connect(board.address) as transport:
        return transport.run(["true"], timeout_s=30)


# No connection


def test_a_key_that_the_board_does_not_know(spare: EmulatedBoard) -> None:
    spare.make_key("client/other")
    spare.write_client(key="client/other")
    with refused(spare, "Permission denied (publickey)", hint=f"ssh-copy-id {spare.name}"):
        look(spare)


def test_a_board_never_seen_before(spare: EmulatedBoard) -> None:
    spare.write_client(known=False)
    with refused(spare, "host key", hint=f"`ssh {spare.name}"):
        look(spare)


def test_a_board_with_another_host_key(spare: EmulatedBoard) -> None:
    spare.stop_serving()
    spare.make_key("host_key")
    spare.serve()
    with refused(spare, "host key", "differs", hint=f'-R "[127.0.0.1]:{spare.port}"'):
        look(spare)


def test_a_board_without_an_ssh_server(spare: EmulatedBoard) -> None:
    spare.stop_serving()
    with refused(spare, "connections", hint="sudo systemctl enable --now ssh"):
        look(spare)


@pytest.mark.nightly
def test_a_board_that_accepts_and_says_nothing(spare: EmulatedBoard) -> None:
    spare.hang()
    with refused(spare, "Connection timed out during banner exchange", hint="ping"):
        look(spare)
    spare.resume()
    assert look(spare).returncode == 0


def test_a_board_whose_log_in_fails(spare: EmulatedBoard) -> None:
    spare.power_off()
    with refused(spare, "log-in", "the board is off", hint="`ssh"):
        look(spare)


# In the middle of a step


class Running:
    """A step that runs in the background on a board, and the error that it ends with."""

    def __init__(self, board: EmulatedBoard, *, timeout_s: float = 120) -> None:
        self.error: BaseException | None = None
        self.started = threading.Event()
        self._board, self._timeout_s = board, timeout_s
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Running:
        self._thread.start()
        assert self.started.wait(60), self.error
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join()
        if exc == (None, None, None) and self.error is not None:
            raise self.error

    def _work(self) -> None:
        try:
            with connect(self._board.address) as transport, DeviceLock(transport) as lock:
                lock.step("bench", LONG, timeout_s=self._timeout_s, on_line=lambda _: self.started.set())
        except BaseException as error:
            self.error = error


def works_again(board: EmulatedBoard) -> None:
    """Assert that the next run gets the board, and that nothing of the last one still runs there."""
    with connect(board.address) as transport, DeviceLock(transport) as lock:
        until(lambda: not left_on(board))
        assert lock.step("next", ["echo", "fine"], timeout_s=60).text == "fine\n"
        lock.clean()
    assert not list(board.home.rglob("*edgekit*"))


def test_a_session_that_is_cut(spare: EmulatedBoard) -> None:
    with (
        refused(spare, "closed", hint="next run"),
        Running(spare),
    ):
        assert left_on(spare)
        spare.cut()
    works_again(spare)


def test_a_board_that_hangs(spare: EmulatedBoard) -> None:
    with (
        refused(spare, "answering", hint=("power", "network"), within_s=120),
        Running(spare),
    ):
        spare.hang()
    spare.resume()
    works_again(spare)


def test_a_board_that_reboots_in_a_step(spare: EmulatedBoard) -> None:
    with (
        refused(spare, "closed", hint="rebooted"),
        Running(spare),
    ):
        spare.reboot()
    works_again(spare)


def test_a_board_that_reboots_between_push_and_step(spare: EmulatedBoard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with connect(spare.address) as transport, DeviceLock(transport) as lock:
        lock.push(tmp_path / "file", "kept/file")
        spare.reboot()
        with contextlib.suppress(DeviceError):  # the first command after it may find the connection gone
            transport.run(["true"], timeout_s=30)
        with refused(spare, "rebooted", "'bench'", hint="last -x reboot"):
            lock.step("bench", ["true"], timeout_s=60)
    works_again(spare)


CHILD = """
import sys
from edgekit.errors import DeviceError
from edgekit.device import DeviceLock, connect
try:
    with connect(sys.argv[1]) as transport, DeviceLock(transport) as lock:
        lock.step("bench", ["/bin/sh", "-c", "echo running >&2; exec sleep 300"], timeout_s=200,
                   on_line=lambda line: print(line, flush=True))
except DeviceError as error:
    print(error)
"""


def child(board: EmulatedBoard) -> subprocess.Popen[str]:
    """Start a run in another process, and wait until its step runs."""
    started = subprocess.Popen([sys.executable, "-c", CHILD, board.address], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "running\n"
    return started


@pytest.mark.nightly
def test_a_cable_that_is_pulled(lab: Lab, ssh_config: Path) -> None:
    try:
        wired = lab.wired()
    except Unavailable as error:
        pytest.skip(f"no virtual cable: {error}")
    with wired:
        run = child(wired)
        wired.unplug()
        printed, _ = run.communicate(timeout=120)
        assert mentions(printed, "ssh://wired", "answering")
        with refused(wired, re.compile(r"No route to host|timed out"), hint="ping"):
            look(wired)
        assert left_on(wired), "the board is not notified, so its job runs on, up to its time limit"
        wired.plug()
        works_again(wired)


def test_a_host_process_that_is_killed(spare: EmulatedBoard) -> None:
    run = child(spare)
    assert ssh_clients(run.pid)
    run.kill()
    run.communicate()
    until(lambda: not ssh_clients(run.pid))
    until(lambda: not left_on(spare))
    works_again(spare)
    (folder,) = left_here(run.pid)  # the one thing that a killed process cannot remove
    assert {path.name for path in folder.iterdir()} <= {"log", "s"}
    shutil.rmtree(folder)


def test_two_runs_at_once(spare: EmulatedBoard) -> None:
    run = child(spare)
    second = DeviceLock(connect(spare.address))
    with refused(spare, f"process {run.pid}", re.compile(r"\b20\d\d-\d\d-"), hint=re.compile(r"\b\d+ s\b")):
        second.__enter__()
    second.transport.close()
    assert left_on(spare), "the second run ended the first one's work"
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=120)
    works_again(spare)


# The user's own ssh config


def test_a_jump_host_is_honoured(board, spare: EmulatedBoard) -> None:
    board("cortex-a72")
    spare.write_client(ProxyJump="cortex-a72")
    assert look(spare).returncode == 0
