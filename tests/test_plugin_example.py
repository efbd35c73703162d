"""The example of README.md and docs/plugins.md: it is what they show, it installs, passes its tests and is found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "tests" / "examples" / "edgekit-example"
PAGE = ROOT / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example into a folder of its own, offline, as a wheel made by its own build back end."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [*pip, "--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "project")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    cwd = site.parent / "project"
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=cwd)


def shown_in(page: Path) -> dict[str, str]:
    """Give the named code blocks of a page."""
    return dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))


def test_page_shows_every_file() -> None:
    files = {path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert set(shown_in(PAGE)) == {path.relative_to(EXAMPLE).as_posix() for path in files}


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md"], ids=["docs", "README"])
def test_page_shows_the_files_as_they_are(page: Path) -> None:
    shown = shown_in(page)
    files = {path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name and not name.endswith("conftest.py")} == set(shown)
    for name, text in shown.items():
        assert text == (EXAMPLE / name).read_text(), f"{name} in {page.name} is not the file"


def test_backend_is_short_enough_to_be_read_whole() -> None:
    assert len((EXAMPLE / "edgekit_example" / "__init__.py").read_text().splitlines()) <= 60


def test_its_own_tests_pass_where_it_is_installed(site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 30


def test_it_is_listed(site: Path) -> None:
    done = run(site, "-m", "edgekit.cli", "plugins")
    assert done.returncode == 0, done.stderr
    assert re.search(r"linear\s+edgekit-example 0\.1\.0: linear models on numpy", done.stdout)
    assert "linear" not in run_without(site).stdout


def run_without(site: Path) -> subprocess.CompletedProcess[str]:
    return run(site.parent / "nothing", "-m", "edgekit.cli", "plugins")


def test_its_target_is_listed(site: Path) -> None:
    code = "import json; from edgekit import target; print(json.dumps(target.load('example-board').to_dict()))"
    done = run(site, "-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["device"]["memory_mb"] == 512
    assert "example-board" in run(site, "-m", "edgekit.cli", "targets").stdout
