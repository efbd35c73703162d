"""A bundle on the way to its place: written whole or not at all, and over nothing that is precious."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from edgekit.bundle import staging
from edgekit.bundle.bundle import MANIFEST
from edgekit.errors import UsageError
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
    assert len(names(tmp_path)) == 2, "the half and its lock"
    write(tmp_path / "b")
    assert names(tmp_path) == ["b"]


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
