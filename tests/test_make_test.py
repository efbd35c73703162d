"""What `make test` runs: every test once, those that time something apart, and one result of both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("xdist")

ROOT = Path(__file__).parent.parent

TESTS = """
import os, pathlib, pytest

def ran(name):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "none")
    with pathlib.Path("ran.txt").open("a") as file:
        file.write(f"{name} {worker.rstrip('0123456789')} {os.environ.get('OMP_NUM_THREADS', 'all')}\\n")
    assert name not in os.environ["FAIL"].split()

def test_plain(): ran("plain")

@pytest.mark.slow
def test_slow(): ran("slow")

@pytest.mark.alone
def test_timed(): ran("timed")
"""


@pytest.fixture
def make_test(tmp_path: Path):
    """Give a function that runs the script on three tests; what is named in `fail` fails. Gives code, output, runs."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "tests.py", tmp_path / ".ci")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone\n    slow\n")
    (tmp_path / "test_three.py").write_text(TESTS)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "OMP_"))}

    def run(*arguments: str, fail: str = "") -> tuple[int, str, list[str]]:
        (tmp_path / "ran.txt").write_text("")
        command = [sys.executable, tmp_path / ".ci" / "tests.py", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, env={**kept, "FAIL": fail}, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, sorted((tmp_path / "ran.txt").read_text().splitlines())

    return run


def test_what_times_something_runs_apart_and_on_all_cores(make_test) -> None:
    code, said, ran = make_test()
    assert ran == ["plain gw 1", "slow gw 1", "timed none all"]
    assert code == 0
    assert said.splitlines()[-3].startswith("passed in ") and said.splitlines()[-2:] == [
        "together: passed",
        "alone: passed",
    ]


@pytest.mark.parametrize(
    ("fail", "last"),
    [
        ("slow", ["together: FAILED", "  test_three::test_slow", "alone: passed"]),
        ("timed", ["together: passed", "alone: FAILED", "  test_three::test_timed"]),
    ],
)
def test_one_failure_in_either_fails_it_and_is_named_last(fail: str, last: list[str], make_test) -> None:
    code, said, ran = make_test(fail=fail)
    assert code == 1 and len(ran) == 3
    assert said.splitlines()[-4].startswith("FAILED in ") and said.splitlines()[-3:] == last


def test_arguments_choose_as_they_do_for_pytest(make_test) -> None:
    code, said, ran = make_test("-m", "slow or alone")
    assert (code, [line.split()[0] for line in ran]) == (0, ["slow", "timed"])
    code, said, ran = make_test("-k", "plain")
    assert (code, ran) == (0, ["plain gw 1"]) and said.endswith("alone: no tests\n")
    code, said, ran = make_test("-qx", fail="plain slow")
    assert code == 1 and "timed none all" not in ran and "alone" not in said.splitlines()[-1], "-x ends it"
    code, said, ran = make_test("--co", "-q")
    assert (code, ran) == (0, []) and [line for line in said.splitlines() if "::" in line] == [
        "test_three.py::test_plain", "test_three.py::test_slow", "test_three.py::test_timed",
    ]  # fmt: skip
