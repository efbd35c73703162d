"""The options of `tests/conftest.py`, on tests of their own.

`--require NAME`: a test that skips because NAME is missing fails, so that CI cannot pass with tests left out. `--part`:
what `make test` runs together and what alone.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

@pytest.fixture
def board():
    pytest.skip("no device_lab: apt-get is missing")

def test_on_a_board(board): ...
def test_with_real_weights(): pytest.skip("no test assets at /nowhere")
"""


MARKED = """
import pytest

def test_plain(): ...
@pytest.mark.nightly
def test_long(): ...
@pytest.mark.alone
def test_timed(): ...
@pytest.mark.alone
@pytest.mark.nightly
def test_timed_long(): ...
"""


def outcome(folder: Path, *words: str, tests: str = SKIPPING) -> tuple[int, str]:
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone\n    nightly\n")
    (folder / "test_some.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_skip_for_want_of_the_lab_is_loud_and_passes(tmp_path: Path) -> None:
    code, output = outcome(tmp_path, "-ra")
    assert code == 0
    assert "2 skipped" in output
    assert "no device_lab: apt-get is missing" in output


def test_it_fails_where_the_lab_is_required(tmp_path: Path) -> None:
    code, output = outcome(tmp_path, "--require", "device_lab")
    assert code == 1
    assert "1 skipped, 1 error" in output or "1 failed, 1 skipped" in output
    assert "no device_lab: apt-get is missing (required by --require device_lab)" in output


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), ["plain", "long", "timed", "timed_long"]),
        (("--part", "together"), ["plain"]),
        (("--part", "alone"), ["timed"]),
        (("--part", "together", "--nightly"), ["plain", "long"]),
        (("--part", "alone", "--nightly", "-m", "nightly"), ["timed_long"]),
    ],
)
def test_parts_leave_out_what_is_of_another(options: tuple[str, ...], names: list[str], tmp_path: Path) -> None:
    code, output = outcome(tmp_path, "--co", "-q", *options, tests=MARKED)
    assert code == 0
    assert [line for line in output.splitlines() if "::" in line] == [f"test_some.py::test_{name}" for name in names]
