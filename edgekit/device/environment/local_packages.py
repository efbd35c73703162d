"""Packages as folders that a device can be sent: the files of a distribution as pip unpacked them, and no more.

Of edgekit itself and of a plugin they come from this installation: what a device gets is what runs here. An editable
installation is built by pip; of another the installed files are taken.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

from edgekit._requirement import normal
from edgekit.errors import BuildError, EnvironmentFault

_OF_THE_INSTALLER = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}
"""What tells how a distribution came here; it would differ from machine to machine."""


def local(name: str, folder: Path) -> Path:
    """Copy an installed distribution into a folder of its own in `folder`, and return that.

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

    One that `folder` has already, in whatever version, is left.
    """
    there = {place.name.rpartition("-")[0] for place in folder.iterdir()}
    return tuple(_copied(found, folder) for found in distributions(path=[str(site)]) if _name(found) not in there)


def _name(found: Distribution) -> str:
    return normal(found.metadata["Name"])


def _copied(found: Distribution, folder: Path) -> Path:
    """Copy a distribution's files to `folder/NAME-VERSION`, without commands and bytecode."""
    place = folder / f"{_name(found)}-{found.version}"
    for file in found.files or ():
        described = file.parent.name.endswith(".dist-info") and file.name in _OF_THE_INSTALLER
        if not described and ".." not in file.parts and file.suffix != ".pyc":
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), place / file)
    return place


def _source(found: Distribution) -> Path | None:
    """Return the folder of an editable installation, None for another."""
    text = found.read_text("direct_url.json")
    origin = json.loads(text) if text else {}
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(origin["url"]).path))


def _built(name: str, source: Path, folder: Path) -> Path:
    """Build with the project's own back end where that is installed, else with one that pip fetches."""
    backend = _backend(source)
    here = ["--no-build-isolation"] if backend and find_spec(backend.partition(".")[0]) else []
    with tempfile.TemporaryDirectory(dir=folder) as site:
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", *here]
        # pip takes a folder named like `edgekit-openvino` for NAME-VERSION, and would keep its wheel for later builds.
        command += ["--no-cache-dir", "--no-compile", "--target", site, str(source)]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True)
        places = split(Path(site), folder)
    if done.returncode or len(places) != 1:
        raise BuildError(
            f"no wheel could be built of '{name}' in '{source}': {done.stderr.strip()[-500:]}",
            hint=f"`cd {source} && pip wheel --no-deps .` shows all of it",
        )
    return places[0]


def _backend(source: Path) -> str | None:
    try:
        text = (source / "pyproject.toml").read_text()
    except OSError:
        return None
    found = re.search(r"""^build-backend\s*=\s*["']([\w.]+)["']""", text, re.MULTILINE)
    return None if found is None or "backend-path" in text else found[1]
