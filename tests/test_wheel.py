"""The wheels: exactly the files they should hold, and a core that works where it is installed alone."""

from __future__ import annotations

import email
import importlib.machinery
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECTS = {
    "edgekit": ROOT,
    **{path.parent.name: path.parent for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))},
}
PLUGINS = [name for name in PROJECTS if name != "edgekit"]
VERSION = "0.1.0"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheel of every distribution with its own back end."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, project in PROJECTS.items():
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / name)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return {name: next((folder / name).glob("*.whl")) for name in PROJECTS}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def below(folder: Path, inside: str) -> set[str]:
    """Return the files of a source folder under the name they have in the wheel."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{inside}/{path.relative_to(folder).as_posix()}" for path in files}


def info(distribution: str, *more: str) -> set[str]:
    folder = f"{distribution.replace('-', '_')}-{VERSION}.dist-info"
    return {f"{folder}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", *more)}


def test_core_wheel_holds_the_package_the_targets_and_the_licence(wheels: dict[str, Path]) -> None:
    expected = below(ROOT / "edgekit", "edgekit") | below(ROOT / "targets", "edgekit/targets")
    assert names(wheels["edgekit"]) == expected | info("edgekit", "licenses/LICENSE")


def test_core_wheel_holds_what_is_read_at_run_time_and_nothing_else(wheels: dict[str, Path]) -> None:
    held = names(wheels["edgekit"])
    assert {
        "edgekit/py.typed",
        "edgekit/embedded/digits/config.json",
        "edgekit/embedded/digits/model.safetensors",
        "edgekit/embedded/digits/preprocessor_config.json",
        "edgekit/embedded/digits/README.md",
        "edgekit/embedded/digits/data/calibration.npz",
        "edgekit/embedded/digits/data/evaluation.npz",
        "edgekit/targets/jetson-orin-nano.toml",
    } <= held
    kinds = {Path(name).suffix for name in held if ".dist-info/" not in name}
    assert kinds == {".css", ".json", ".md", ".npz", ".png", ".py", ".safetensors", ".toml", ".typed"}
    assert not [name for name in held if Path(name).name.startswith(("test_", "conftest", "train_"))]
    assert wheels["edgekit"].stat().st_size < 1_800_000  # half of it are the weights of digits


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugin_wheel_holds_its_package_only(plugin: str, wheels: dict[str, Path]) -> None:
    package = plugin.replace("-", "_")
    assert names(wheels[plugin]) == below(PROJECTS[plugin] / package, package) | info(plugin, "licenses/LICENSE")
    assert f"{package}/py.typed" in names(wheels[plugin])
    assert (PROJECTS[plugin] / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("distribution", PROJECTS)
def test_metadata_has_what_an_index_shows(distribution: str, wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels[distribution]) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(file.read(name))
    assert (metadata["Name"], metadata["Version"]) == (distribution, VERSION)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Summary"]
    assert len(str(metadata.get_payload())) > 200, "the README is the page people see"


def test_core_needs_four_pure_packages_and_numpy(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["edgekit"]) as file:
        metadata = email.message_from_bytes(file.read(f"edgekit-{VERSION}.dist-info/METADATA"))
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in needed) == ["click", "filelock", "numpy", "packaging", "tomli"]


@pytest.fixture(scope="module")
def alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the core's wheel into an environment of its own, offline; return its folder of commands.

    What the core needs is linked from the environment of the tests, and nothing else is there.
    """
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    query = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip())
    link("pip", tool := folder / "tool")
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    environment = {**os.environ, "PYTHONPATH": str(tool)}
    done = subprocess.run([*command, str(wheels["edgekit"])], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for package in ("click", "filelock", "numpy", "packaging", *(["tomli"] if sys.version_info < (3, 11) else [])):
        link(package, site)
    return folder / "bin"


def link(package: str, folder: Path) -> None:
    """Link a package of this environment into a folder, with the libraries that a wheel keeps beside it."""
    # Not importlib.util: setuptools' own finder would replace distutils, which another test may have imported.
    spec = importlib.machinery.PathFinder.find_spec(package)
    assert spec is not None and spec.origin is not None
    home = Path(spec.origin).parent
    folder.mkdir(exist_ok=True)
    for path in (home, home.with_name(f"{package}.libs")):
        if path.exists():
            (folder / path.name).symlink_to(path)


def call(alone: Path, command: str, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(alone / command), *arguments], env=environment, cwd=alone, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installed_alone_it_prints_its_version(alone: Path) -> None:
    assert call(alone, "edgekit", "--version") == f"edgekit {VERSION}\n"


def test_installed_alone_it_finds_its_targets(alone: Path) -> None:
    answer = call(alone, "edgekit", "targets", "--json")
    for target in ("host", "jetson-orin-nano", "raspberry-pi-5"):
        assert f'"{target}"' in answer


def test_installed_alone_it_finds_its_embedded_model(alone: Path) -> None:
    code = """
import json, numpy, edgekit.embedded as e
with numpy.load(e.data("digits", "evaluation")) as data:
    shape = data["image"].shape
print(json.dumps([e.names(), str(e.folder("digits")), shape]))
"""
    names, folder, shape = json.loads(call(alone, "python", "-c", code))
    assert names == ["digits"]
    assert Path(folder).is_relative_to(alone.parent)
    assert shape == [500, 8, 8]
