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
NPU = EXAMPLE.with_name("edgekit-npu")
PAGE = ROOT / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the examples into a folder of their own, offline, as wheels made by their own build back end."""
    folder = tmp_path_factory.mktemp("example")
    projects = [folder / "project", folder / "clip", folder / "npu"]
    for source, project in zip((EXAMPLE, CLIP, NPU), projects, strict=True):
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
    examples = {"": EXAMPLE} if page != PAGE else {"": EXAMPLE, "edgekit-clip/": CLIP, "edgekit-npu/": NPU}
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


@pytest.mark.nightly
@pytest.mark.needs("torch", "optimum.onnxruntime")
def test_the_pass_on_modules_passes_its_tests(site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests", project="clip")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 15


# A backend with recipes, settings of passes and a target of its own: the core has no line about it.


def test_the_backend_of_the_npu_passes_its_tests(site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests", project="npu")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 35


def test_the_core_has_no_line_about_the_npu() -> None:
    files = [*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "plugins").rglob("*.py"), *(ROOT / "targets").iterdir()]
    assert not [path for path in files if "made-up-npu" in path.read_text() or "edgekit_npu" in path.read_text()]


def test_its_recipe_is_listed_and_written_out_as_a_file(site: Path) -> None:
    assert re.search(
        r"int8-npu\s+int8-static, ranges by squared error", run(site, "-m", "edgekit.cli", "recipes").stdout
    )
    done = run(site, "-m", "edgekit.cli", "recipes", "int8-npu")
    assert done.stdout.startswith("# int8-npu: needs calibration data\n") and 'method = "mse"' in done.stdout


@pytest.mark.slow
@pytest.mark.needs("torch", "optimum.onnxruntime")
def test_an_export_for_the_npu_tries_its_recipe_with_its_settings(site: Path) -> None:
    recipe = site.parent / "npu" / "asymmetric.toml"
    text = run(site, "-m", "edgekit.cli", "recipes", "int8-npu").stdout
    recipe.write_text(text.replace('method = "mse"', 'method = "mse"\nsymmetric_activations = false'))
    own, out = "made-up-npu/int8-npu", site.parent / "npu" / "out"
    export = ["-m", "edgekit.cli", "export", "digits", "--target", "made-up-npu", "--no-mixed", "--no-tune", "--json"]
    export += ["--objective", "size", "--bench-seconds", "0.2"]
    done = run(site, *export, "-o", str(out), project="npu")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    candidates = {candidate["name"]: candidate for candidate in report["candidates"]}
    assert set(candidates) == {own, "made-up-npu/int8-static", "made-up-npu/fp32"}, "its default recipes"
    assert candidates[own]["status"] == "shipped", "a scale for each tensor takes less than one for each channel"
    assert candidates[own]["quality"]["original_score"] - candidates[own]["quality"]["score"] <= 0.01
    assert candidates[own]["effective"]["main"] == "i8"
    (step,) = [step for step in report["lineage"] if step["name"] == "quantize-static"]
    settings = {"method": "mse", "per_channel": False}  # what its recipe says, and then what the backend decides
    settings |= {"activations": "s8", "symmetric_activations": True, "reduce_range": False}
    assert settings.items() <= step["config"].items()
    assert report["environment"]["packages"].keys() >= {"onnxruntime", "optimum", "torch"}

    verified = run(site, "-m", "edgekit.cli", "verify", str(out), project="npu")
    assert verified.returncode == 0, verified.stderr
    refused = run(site, *export, "-o", f"{out}-2", "--candidate", f"made-up-npu/{recipe}", project="npu")
    assert refused.returncode == 4, "the NPU refuses what the settings would not have given"
    assert "has a zero point other than 0" in refused.stderr


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
