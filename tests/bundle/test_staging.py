"""A bundle on the way to its place: written whole or not at all, and over nothing that is precious."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgekit import _files
from edgekit.bundle import manifest, staging
from edgekit.bundle.bundle import MANIFEST
from edgekit.errors import ArtifactError, UsageError
from tests.wording import raises


def write(path):
    with staging.folder(path) as stage:
        (stage / MANIFEST).write_text("{}")
    return path


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_failed_write_leaves_the_old_bundle_and_nothing_else(tmp_path):
    path = write(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt), staging.folder(path) as stage:
        (stage / "half").write_text("x")
        raise KeyboardInterrupt
    assert (path / MANIFEST).read_text() == "{}" and names(tmp_path) == ["b"]


def test_a_killed_write_is_cleared_by_the_next(tmp_path):
    code = f"""
    import os, pathlib
    from edgekit.bundle import staging
    with staging.folder(pathlib.Path({str(tmp_path / "b")!r})) as stage:
        (stage / "half").write_text("x")
        os.kill(os.getpid(), 9)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    assert len(list(tmp_path.glob(".b.*.new"))) == 1
    write(tmp_path / "b")
    assert names(tmp_path) == ["b"]


def killed_at(path, patch):
    """Replace the bundle at `path` in a process that `patch` kills on the way."""
    code = f"""
    import os, pathlib
    from edgekit.bundle import staging
    kill = lambda *_: os.kill(os.getpid(), 9)
    {patch}
    with staging.folder(pathlib.Path({str(path)!r}), force=True) as stage:
        (stage / "manifest.json").write_text("new")
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9


KILL_AFTER_RENAME = "staging.Path.rename = lambda *paths: (os.rename(*paths), kill())"


def test_a_kill_during_a_replacement_leaves_a_whole_bundle_at_the_path(tmp_path):
    path = write(tmp_path / "b")
    if not _files.exchange(path, write(tmp_path / "c")):
        pytest.skip("the file system does not exchange folders")
    killed_at(path, f"{KILL_AFTER_RENAME}; staging.remove = kill")
    assert (path / MANIFEST).read_text() == "new"
    with staging.folder(path, force=True) as stage:
        (stage / MANIFEST).write_text("next")
    assert sorted(names(tmp_path)) == ["b", "c"] and (path / MANIFEST).read_text() == "next"


def test_where_folders_are_not_exchanged_a_kill_between_the_renames_is_named(tmp_path):
    path = write(tmp_path / "b c")
    killed_at(path, f"staging.exchange = lambda *_: False; {KILL_AFTER_RENAME}")
    with raises(ArtifactError, "killed while it replaced", ".old", hint="mv '") as caught:
        manifest.read(path)
    moved = subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=False)
    assert moved.returncode == 0 and (path / MANIFEST).read_text() == "{}"


def test_outputs_that_exist(tmp_path):
    bundle = write(tmp_path / "b")
    with raises(UsageError, "b'", hint="--force") as caught:
        staging.check(bundle, force=False)
    assert "--force" in (caught.value.hint or "")
    staging.check(bundle, force=True)
    staging.check(tmp_path / "new" / "deep", force=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with raises(UsageError, "mine'", "bundle", hint="--output"):
        staging.check(tmp_path / "mine", force=True)
    with raises(UsageError, "thesis.txt'", "file", hint="--output"):
        staging.check(tmp_path / "mine" / "thesis.txt", force=True)


@pytest.mark.parametrize("output", [".", "new/..", "..", "/", "link"])
def test_the_working_folder_is_not_replaced(output, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "here")
    with raises(UsageError, f"'{output}'", hint="--output"):
        staging.check(Path(output), force=True)


def test_a_link_to_a_folder_keeps_its_place(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "b")
    for force in (False, True):
        staging.check(tmp_path / "link", force=force)
        with staging.folder(tmp_path / "link", force=force) as stage:
            (stage / MANIFEST).write_text(str(force))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / "b" / MANIFEST).read_text() == "True"
    assert names(tmp_path / "disk") == ["b"]
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with raises(UsageError, "round'", hint="--output"):
        staging.check(tmp_path / "round", force=False)


def test_long_names(tmp_path):
    staging.check(tmp_path / ("n" * 255), force=False)
    assert names(tmp_path) == [] and write(tmp_path / ("n" * 255)).is_dir()
    for name in ("n" * 256, "deep/" + "é" * 128, "n" * 5000):
        with raises(UsageError, name, hint="--output"):
            staging.check(tmp_path / name, force=False)
