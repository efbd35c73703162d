"""The examples of README.md and docs/plugins.md: they are what is shown, install, pass their tests and are found."""

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
CLIP = EXAMPLE.with_name("edgekit-clip")
PAGE = ROOT / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the examples into a folder of their own, offline, as wheels made by their own build back end."""
    folder = tmp_path_factory.mktemp("example")
    projects = [folder / "project", folder / "clip"]
    for source, project in zip((EXAMPLE, CLIP), projects, strict=True):
        shutil.copytree(source, project, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [*pip, "--disable-pip-version-check", "--target", str(folder / "site"), *map(str, projects)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site: Path, *command: str, project: str = "project") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    cwd = site.parent / project
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=cwd)


def shown_in(page: Path) -> dict[str, str]:
    """Return the named code blocks of a page."""
    return dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))


def files_of(page: Path) -> dict[str, str]:
    """Return the files of the examples that a page shows, by the names that it gives them."""
    examples = {"": EXAMPLE} if page != PAGE else {"": EXAMPLE, "edgekit-clip/": CLIP}
    return {
        prefix + path.relative_to(folder).as_posix(): path.read_text()
        for prefix, folder in examples.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md"], ids=["docs", "README"])
def test_page_shows_the_files_as_they_are(page: Path) -> None:
    shown, files = shown_in(page), files_of(page)
    assert set(shown) == set(files)
    for name, text in shown.items():
        assert text == files[name], f"{name} in {page.name} is not the file"


def test_backend_is_short_enough_to_be_read_whole() -> None:
    assert len((EXAMPLE / "edgekit_example" / "__init__.py").read_text().splitlines()) <= 60


def test_its_own_tests_pass_where_it_is_installed(site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 30


@pytest.mark.needs("torch", "optimum.onnxruntime")
def test_the_pass_on_modules_passes_its_tests(site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests", project="clip")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 15


def test_it_is_listed(site: Path) -> None:
    done = run(site, "-m", "edgekit.cli", "plugins")
    assert done.returncode == 0, done.stderr
    assert re.search(r"linear\s+edgekit-example 0\.1\.0: linear models on numpy", done.stdout)
    assert re.search(r"clip\s+edgekit-clip 0\.1\.0", done.stdout)
    assert "linear" not in run_without(site).stdout


def run_without(site: Path) -> subprocess.CompletedProcess[str]:
    return run(site.parent / "nothing", "-m", "edgekit.cli", "plugins")


def test_its_target_is_listed(site: Path) -> None:
    code = "import json; from edgekit import target; print(json.dumps(target.load('example-board').to_dict()))"
    done = run(site, "-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["device"]["memory_mb"] == 512
    assert "example-board" in run(site, "-m", "edgekit.cli", "targets").stdout
