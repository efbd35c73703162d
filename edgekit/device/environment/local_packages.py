"""Packages as folders that can be sent to a device: the files of a distribution as pip unpacked them, and no others.

Those of edgekit itself and of a plugin come from this installation, so that the device runs what runs here. pip builds
an editable installation; otherwise the installed files are copied.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

from edgekit._process import python_module
from edgekit._requirement import normal
from edgekit.errors import BuildError, EnvironmentFault

_INSTALLER_FILES = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}
"""Files about how a distribution was installed; they differ from machine to machine."""


def copy(name: str, folder: Path) -> Path:
    """Copy an installed distribution into a folder of its own in `folder`, and return that folder.

    Raises EnvironmentFault when it is not installed or does not fit another machine, BuildError when its build fails.
    """
    try:
        installed = distribution(name)
    except PackageNotFoundError as error:
        raise EnvironmentFault(f"'{name}' is not installed here.", hint=f"pip install {name}") from error
    source = _source(installed)
    if source is not None:
        return _built(name, source, folder)
    lines = (installed.read_text("WHEEL") or "").splitlines()
    tags = [line.partition(": ")[2] for line in lines if line.startswith("Tag: ")]
    if len(tags) != 1 or not tags[0].endswith("-any") or not installed.files:
        version = installed.version
        raise EnvironmentFault(
            f"'{name}' {version} cannot be carried to a device: its files are compiled, or not listed.",
            hint=f"install it on the device by hand, and deploy without --bootstrap: pip install {name}=={version}",
        )
    return _copied(installed, folder)


def split(site: Path, folder: Path) -> tuple[Path, ...]:
    """Copy the distributions of `site`, which pip filled, each into a folder of its own in `folder`.

    A distribution that `folder` contains already, in any version, is skipped.
    """
    present = {path.name.rpartition("-")[0] for path in folder.iterdir()}
    installed = distributions(path=[str(site)])
    return tuple(_copied(package, folder) for package in installed if _name(package) not in present)


def _name(package: Distribution) -> str:
    return normal(package.metadata["Name"])


def _copied(package: Distribution, folder: Path) -> Path:
    """Copy a distribution's files to `folder/NAME-VERSION`, without commands and bytecode, and return that folder."""
    copy = folder / f"{_name(package)}-{package.version}"
    for file in package.files or ():
        of_installer = file.parent.name.endswith(".dist-info") and file.name in _INSTALLER_FILES
        if not of_installer and ".." not in file.parts and file.suffix != ".pyc":
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), copy / file)
    return copy


def _source(package: Distribution) -> Path | None:
    """Return the source folder of an editable installation; None for another installation."""
    text = package.read_text("direct_url.json")
    origin = json.loads(text) if text else {}
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(origin["url"]).path))


def _built(name: str, source: Path, folder: Path) -> Path:
    """Build with the project's own build back end where that is installed, else with one that pip fetches."""
    backend = _build_backend(source)
    isolation = ["--no-build-isolation"] if backend and find_spec(backend.partition(".")[0]) else []
    with tempfile.TemporaryDirectory(dir=folder) as site:
        words = ["install", "-q", "--disable-pip-version-check", "--no-deps", *isolation]
        # pip takes a folder named like `edgekit-openvino` for NAME-VERSION, and would keep its wheel for later builds.
        words += ["--no-cache-dir", "--no-compile", "--target", site, str(source)]
        done = subprocess.run(python_module("pip", *words), cwd=source, capture_output=True, text=True)
        copies = split(Path(site), folder)
    if done.returncode or len(copies) != 1:
        raise BuildError(
            f"no wheel could be built of '{name}' in '{source}': {done.stderr.strip()[-500:]}",
            hint=f"`cd {source} && pip wheel --no-deps .` shows all of it",
        )
    return copies[0]


def _build_backend(source: Path) -> str | None:
    try:
        text = (source / "pyproject.toml").read_text()
    except OSError:
        return None
    match = re.search(r"""^build-backend\s*=\s*["']([\w.]+)["']""", text, re.MULTILINE)
    return None if match is None or "backend-path" in text else match[1]
