"""The step cache: sound after failures, kills, damage and two exports at once."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgekit import cache
from edgekit.errors import DeviceError, UsageError
from tests.wording import raises


def write(text: str):
    def make(work: Path) -> None:
        (work / "sub").mkdir()
        (work / "sub" / "file.txt").write_text(text)

    return make


def refuse(work: Path) -> None:
    raise AssertionError("the step was made again")


def test_a_step_is_made_once():
    folder, hit = cache.fetch("aa11", "step", write("one"))
    assert (folder / "sub/file.txt").read_text() == "one" and not hit
    again, hit = cache.fetch("aa11", "step", refuse)
    assert again == folder and hit


def test_what_is_not_to_be_kept_is_made_again(tmp_path):
    def make(work: Path) -> Path:
        write("passing")(work)
        return work.rename(tmp_path / "own")

    assert cache.fetch("af", "step", make) == (tmp_path / "own", False)
    folder, hit = cache.fetch("af", "step", write("kept"))
    assert (folder / "sub/file.txt").read_text() == "kept" and not hit
    assert cache.fetch("af", "step", refuse) == (folder, True)


@pytest.mark.parametrize("damage", ["alter", "truncate", "remove"])
def test_a_damaged_entry_is_made_again(damage):
    folder, _ = cache.fetch("ab", "step", write("sound"))
    file = folder / "sub/file.txt"
    ways = {"alter": lambda: file.write_text("other"), "truncate": lambda: file.write_text(""), "remove": file.unlink}
    ways[damage]()
    folder, hit = cache.fetch("ab", "step", write("sound"))
    assert not hit and (folder / "sub/file.txt").read_text() == "sound"


def test_a_failed_step_leaves_nothing():
    def fail(work: Path) -> None:
        (work / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.fetch("ac", "step", fail)
    assert not list((cache.folder() / "work").iterdir())
    assert not list((cache.folder() / "steps").glob("*/*"))


def test_leftovers_of_a_killed_run_are_collected():
    code = """
    import os, signal
    from edgekit import cache
    def die(work):
        (work / "half").write_text("x" * 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    cache.fetch("ad", "step", die)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    assert len(list((cache.folder() / "work").glob("*.d"))) == 1
    cache.fetch("ad", "step", write("whole"))
    assert not list((cache.folder() / "work").iterdir())


def test_two_processes_make_a_step_once(tmp_path):
    code = f"""
    import time, pathlib
    from edgekit import cache
    def make(work):
        time.sleep(0.5)
        (work / "file").write_text("x")
        with pathlib.Path({str(tmp_path / "made")!r}).open("a") as log:
            log.write("made\\n")
    cache.fetch("af", "step", make)
    """
    children = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "made\n"


def test_usage_and_clear():
    cache.fetch("af", "first", write("12345"))
    cache.fetch("b0", "second", write("1234567"))
    assert [(entry.step, entry.bytes) for entry in cache.usage()] == [("first", 5), ("second", 7)]
    assert cache.clear() == 12
    assert cache.usage() == ()


def test_clear_leaves_what_another_process_uses():
    code = """
    import sys
    from edgekit import cache
    def make(work):
        (work / "file").write_text("12345")
    folder, _ = cache.fetch("af", "used", make)
    print("ready", flush=True)
    sys.stdin.readline()
    print((folder / "file").read_text(), flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    cache.fetch("b0", "idle", write("1234567"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout and user.stdout.readline() == "ready\n"
        assert cache.clear() == 7
        assert [entry.step for entry in cache.usage()] == ["used"]
        assert user.communicate("\n")[0] == "12345\n"
    assert cache.clear() == 5
    assert cache.usage() == ()


def test_clear_removes_work_folders_that_no_process_holds():
    with cache.workdir("held") as work:
        (work.parent / "old.999999999.x").mkdir()
        cache.clear()
        assert work.is_dir() and not (work.parent / "old.999999999.x").exists()


def test_a_full_disk_and_a_read_only_one_are_reported():
    with raises(DeviceError, "full", "'x'", hint="edgekit cache clear"), cache.disk_faults(Path("x"), "the bundle"):
        raise OSError(errno.ENOSPC, "No space left on device", "x/model.onnx")
    with raises(DeviceError, "full", "'x'"), cache.disk_faults(Path("x"), "the bundle"):
        raise shutil.Error([("a", "x/a", "[Errno 28] No space left on device: 'x/a'")])
    with raises(UsageError, "'x'", "read-only", hint="--cache-dir"), cache.disk_faults(Path("x"), "the bundle"):
        raise OSError(errno.EROFS, "Read-only file system", "x")


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    assert cache.folder().name == "cache"
    monkeypatch.delenv("EDGEKIT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "edgekit"


def test_a_user_without_a_home_must_name_a_place(monkeypatch):
    monkeypatch.delenv("EDGEKIT_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("edgekit.target.host.home", lambda: None)
    with raises(UsageError, "home", hint=("--cache-dir", "EDGEKIT_CACHE_DIR")) as caught:
        cache.folder()
    assert "--cache-dir" in caught.value.hint
