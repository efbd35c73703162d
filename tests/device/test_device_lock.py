"""The device's folder, lock and steps, on this machine through the transport `local`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.device import DeviceLock, connect
from edgekit.errors import DeviceError, UsageError
from tests.wording import mentions, raises

FOREVER = ["/bin/sh", "-c", "echo running >&2; sleep 600"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "device"


def locked(place: Path, **more) -> DeviceLock:
    return DeviceLock(connect("local:"), folder=str(place), **more)


def alive(marker: str) -> list[int]:
    """Return the processes with `marker` in their command line."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if marker.encode() in command and int(path.parent.name) != os.getpid():
            pids.append(int(path.parent.name))
    return pids


def until(condition, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def test_a_step_returns_its_exit_code_and_output(place: Path) -> None:
    lines: list[str] = []
    with locked(place) as here:
        assert here.folder == str(place)
        done = here.step("look", ["/bin/sh", "-c", "pwd; echo a b >&2; exit 3"], timeout_s=20, on_line=lines.append)
    assert (done.returncode, done.text) == (3, f"{place}\n")
    assert lines == ["a b"]
    assert done.stderr.decode().strip() == "a b"


def test_the_folder_is_named_by_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_DEVICE_DIR", str(place))
    with DeviceLock(connect("local:")) as here:
        assert here.folder == str(place)


def test_clean_leaves_nothing(place: Path) -> None:
    with locked(place) as here:
        here.step("look", ["true"], timeout_s=20)
        here.clean()
    assert not place.exists()


def test_a_folder_that_is_not_edgekits_is_not_changed(place: Path) -> None:
    place.mkdir()
    (place / "photo.jpg").touch()
    with raises(UsageError, "device'", "local:", hint="EDGEKIT_DEVICE_DIR"), locked(place):
        pass
    assert [path.name for path in place.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("mark", ["", "mine\n"])
def test_a_file_of_the_right_name_makes_no_folder_edgekits(place: Path, mark: str) -> None:
    place.mkdir()
    (place / "edgekit-device").write_text(mark)
    (place / "photo.jpg").touch()
    with raises(UsageError, "device'", "local:", hint="EDGEKIT_DEVICE_DIR"), locked(place):
        pass
    assert sorted(path.name for path in place.iterdir()) == ["edgekit-device", "photo.jpg"]


@pytest.mark.parametrize("name", ["photo.jpg", ".profile", "..odd", "two words"])
def test_a_folder_with_files_of_the_user_is_not_removed(place: Path, name: str) -> None:
    with locked(place) as here:
        (place / name).touch()
        (place / "env").mkdir()
        with raises(UsageError, "device'", f"'{name}'"):
            here.clean()
    assert {"edgekit-device", "env", name} <= {path.name for path in place.iterdir()}


def test_a_late_step_is_ended(place: Path) -> None:
    with locked(place) as here:
        with raises(DeviceError, "'slow'", "1 s", "local:"):
            here.step("slow", FOREVER, timeout_s=1)
        assert here.step("next", ["echo", "fine"], timeout_s=20).text == "fine\n"
    assert not alive(f"{place}\0")


def test_two_runs_never_share_a_device(place: Path) -> None:
    with locked(place) as first:
        second = locked(place)
        with raises(DeviceError, "local:", f"process {os.getpid()}", re.compile(r"\b20\d\d-\d\d-")) as caught:
            second.__enter__()
        assert mentions(caught.value.hint, re.compile(r"\b\d+ s\b"))
        assert first.step("still", ["true"], timeout_s=20).returncode == 0
    with locked(place):
        pass


def test_a_reboot_is_named(place: Path) -> None:
    with locked(place) as here:
        here._boot = "11111111-2222-3333-4444-555555555555"
        with raises(DeviceError, "local:", "'bench'", "rebooted"):
            here.step("bench", ["true"], timeout_s=20)


def test_a_lock_that_was_taken_over_is_named(place: Path) -> None:
    with locked(place) as here:
        (place / "lease").write_text(f"another {here.boot_id} 99999999999\nnobody knows\n")
        with raises(DeviceError, "local:", "'bench'", "process 0"):
            here.step("bench", ["true"], timeout_s=20)
    assert (place / "lease").exists(), "the other run's lease was removed"


def test_a_long_copy_extends_the_lease(place: Path, tmp_path: Path) -> None:
    def left_s() -> int:
        _, _, until = (place / "lease").read_text().splitlines()[0].split()
        return int(until) - int(float(Path("/proc/uptime").read_text().split()[0]))

    (tmp_path / "small").write_bytes(b"1")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(40_000_000)
    with locked(place) as here:
        here.push(tmp_path / "small", "small")
        assert 250 < left_s() <= 300
        here.push(tmp_path / "large", "large", timeout_s=900)
        assert 1100 < left_s() <= 1200
    assert not (place / "lease").exists()


CHILD = """
import sys
from edgekit.device import DeviceLock, connect
with DeviceLock(connect("local:"), folder=sys.argv[1]) as lock:
    lock.step("bench", ["/bin/sh", "-c", "echo running >&2; sleep 600", sys.argv[2]], timeout_s=500,
               on_line=lambda line: print(line, flush=True))
"""


def test_a_killed_run_leaves_nothing_running_and_the_next_one_works(place: Path) -> None:
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(place), marker], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    assert alive(marker)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with locked(place) as here:
        assert here.step("next", ["echo", "fine"], timeout_s=20).text == "fine\n"
    until(lambda: not alive(marker))


def test_what_an_interrupted_run_left_is_removed(place: Path) -> None:
    with locked(place):
        pass
    orphan = subprocess.Popen(["sleep", "600"], start_new_session=True)
    start = Path(f"/proc/{orphan.pid}/stat").read_text().rpartition(")")[2].split()[19]
    (place / "jobs" / "bench.0123").write_text(f"{orphan.pid} {start}\n")
    (place / "jobs" / "old.4567").write_text(f"{os.getpid()} 1\n")  # the number was given to another process since
    (place / "bundles").mkdir()
    (place / "bundles" / "model.onnx.0123abcd.edgekit-part").write_text("half")
    notes: list[str] = []
    with locked(place, note=notes.append):
        pass
    assert orphan.wait(10) == -signal.SIGTERM
    assert not list((place / "jobs").iterdir())
    assert not list((place / "bundles").iterdir())
    assert len(notes) == 1 and mentions(notes[0], "local:", "bench.0123")


# Folders


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.onnx").write_bytes(os.urandom(100_000))
    (folder / "a name with $ and 'quotes'").write_text("text")
    (folder / "manifest.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_arrives_complete(place: Path, bundle: Path) -> None:
    with locked(place) as here:
        assert here.push_bundle(bundle) == f"{place}/bundles/bundle"
    assert contents(place / "bundles" / "bundle") == contents(bundle)


def test_only_what_changed_is_sent_again(place: Path, bundle: Path) -> None:
    with locked(place) as here:
        there = Path(here.push_bundle(bundle))
        inode = (there / "model" / "model.onnx").stat().st_ino
        (bundle / "manifest.json").write_text('{"a": 1}')
        (bundle / "a name with $ and 'quotes'").unlink()
        here.push_bundle(bundle)
        assert contents(there) == contents(bundle)
        assert (there / "model" / "model.onnx").stat().st_ino == inode, "an unchanged file was sent again"


def test_an_altered_file_on_the_device_is_replaced(place: Path, bundle: Path) -> None:
    with locked(place) as here:
        there = Path(here.push_bundle(bundle))
        (there / "model" / "model.onnx").write_bytes(b"damaged")
        here.push_bundle(bundle)
    assert contents(there) == contents(bundle)


def test_names_that_do_not_fit_on_one_line_are_refused(place: Path, bundle: Path) -> None:
    (bundle / "two\nlines").touch()
    with locked(place) as here, raises(UsageError, r"'two\nlines'", "bundle'"):
        here.push_bundle(bundle)


def test_files_and_results_come_back(place: Path, bundle: Path, tmp_path: Path) -> None:
    with locked(place) as here:
        here.push(bundle / "manifest.json", "in.json")
        here.step("work", ["cp", "in.json", "out.json"], timeout_s=20)
        here.fetch("out.json", tmp_path / "out.json")
        here.remove("out.json")
    assert (tmp_path / "out.json").read_text() == "{}"
    assert not (place / "out.json").exists()
