"""Files that are written whole or not at all, and what a killed process left of them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgekit._files import remove_leftovers, replacing


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
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "a[1]") as file:
        file.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a[1]"]


def test_only_what_names_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    for name in (f"work.{child.pid}.x", "work.1.x", "work.x", "other"):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "work.1.x", "work.x"]
