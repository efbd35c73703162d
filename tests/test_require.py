"""`pytest --require NAME`: a test that skips for want of NAME fails, so that CI cannot pass for what it left out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SKIPPING = """
import pytest

@pytest.fixture
def board():
    pytest.skip("no device_lab: there is no apt-get")

def test_on_a_board(board): ...
def test_with_real_weights(): pytest.skip("no test assets at /nowhere")
"""


def outcome(folder: Path, *words: str) -> tuple[int, str]:
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    (folder / "test_some.py").write_text(SKIPPING)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_skip_for_want_of_the_lab_is_loud_and_passes(tmp_path: Path) -> None:
    code, said = outcome(tmp_path, "-ra")
    assert code == 0
    assert "2 skipped" in said
    assert "no device_lab: there is no apt-get" in said


def test_it_fails_where_the_lab_is_required(tmp_path: Path) -> None:
    code, said = outcome(tmp_path, "--require", "device_lab")
    assert code == 1
    assert "1 skipped, 1 error" in said or "1 failed, 1 skipped" in said
    assert "no device_lab: there is no apt-get (required by --require device_lab)" in said
