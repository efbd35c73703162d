"""Files that are written whole or not at all, and what a killed process left of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit._files import claimed, remove_leftovers, replacing


def test_the_new_file_takes_the_old_ones_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with replacing(tmp_path / "a") as file:
        file.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as file:
        file.write_text("ne")
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    code = f"""
    import os, pathlib
    from edgekit._files import replacing
    with replacing(pathlib.Path({str(tmp_path / "a[1]")!r})) as file:
        file.write_text("half")
        os.kill(os.getpid(), 9)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    assert len(list(tmp_path.glob(".*.new"))) == 1
    with replacing(tmp_path / "a[1]") as file:
        file.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a[1]"]


def test_only_what_was_claimed_by_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    left = "work.0123456789abcdef"
    for name in (f"{left}.x", "work.b.fedcba9876543210.x", "work.1.x", "work.x", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / f"{left}.lock").touch()
    (tmp_path / "work.b.fedcba9876543210.lock").touch()
    with claimed(tmp_path, "work") as name:
        (tmp_path / f"{name}.x").mkdir()
        remove_leftovers(tmp_path, "work")
        assert (tmp_path / f"{name}.x").is_dir() and not (tmp_path / f"{left}.x").exists()
        assert (tmp_path / "work.b.fedcba9876543210.x").is_dir()
        remove_leftovers(tmp_path)
        kept = {"other", "work.1.x", "work.x", f"{name}.lock", f"{name}.x"}
        assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path) -> None:
    for name in ("n" * 255, "é" * 127, os.fsdecode(b"\xe9" * 255)):
        with replacing(tmp_path / name) as file:
            file.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 3


HOLD = """
import pathlib, sys
from edgekit._files import claimed, temporary_folder
with temporary_folder(pathlib.Path(sys.argv[1]), "step") as folder:
    (folder / "half").write_text("x")
    print(folder.name, flush=True)
    sys.stdin.readline()
    print((folder / "half").is_file(), flush=True)
"""


def test_another_container_leaves_what_is_in_use(tmp_path: Path) -> None:
    with in_a_namespace(HOLD, tmp_path) as first, in_a_namespace(HOLD, tmp_path) as second:
        assert first.stdout and second.stdout
        folders = {process.stdout.readline().strip() for process in (first, second) if process.stdout}
        assert len(folders) == 2  # both are process 1 of their own
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.glob("*.d")} == folders
        assert [process.communicate("\n")[0] for process in (first, second)] == ["True\n", "True\n"]
    assert list(tmp_path.iterdir()) == []
    with in_a_namespace(HOLD, tmp_path) as third:
        assert third.stdout
        third.stdout.readline()
        third.kill()
        third.wait()
        for _ in range(200):  # the namespace's process ends when unshare's death reaches it
            remove_leftovers(tmp_path)
            if not list(tmp_path.iterdir()):
                break
            time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def in_a_namespace(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    unshare = ["unshare", "-p", "-f", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("process-id namespaces need root and util-linux' unshare")
    command = [*unshare, sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
