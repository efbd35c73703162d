"""Wheels of edgekit itself and of a plugin, made from this installation: what a device gets is what runs here.

An editable installation is built by its own build back end; one from a wheel is packed again from its files.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

from edgekit.errors import BuildError, EnvironmentFault

_BUILD = """
import importlib, sys
print(importlib.import_module(sys.argv[1]).build_wheel(sys.argv[2]))
"""
"""The hook of PEP 517, called in the folder of the project."""

_NOT_PACKED = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}
"""What an installer adds to a wheel's files."""


def wheel(name: str, folder: Path) -> Path:
    """Make the wheel of an installed distribution in `folder`.

    Raises EnvironmentFault when it is not installed or cannot be packed, BuildError when its build fails.
    """
    try:
        found = distribution(name)
    except PackageNotFoundError as error:
        raise EnvironmentFault(f"'{name}' is not installed here.", hint=f"pip install {name}") from error
    source = _source(found)
    return _packed(found, folder) if source is None else _built(name, source, folder)


def _source(found: Distribution) -> Path | None:
    """Give the folder of an editable installation, None for another."""
    text = found.read_text("direct_url.json")
    origin = json.loads(text) if text else {}
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(origin["url"]).path))


def _built(name: str, source: Path, folder: Path) -> Path:
    """Build with the project's own back end where that is installed, else let pip fetch it."""
    backend = _backend(source)
    if backend and find_spec(backend.partition(".")[0]):
        command = [sys.executable, "-c", _BUILD, backend, str(folder.absolute())]
    else:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder.absolute()), str(source)]
    before = set(folder.glob("*.whl"))
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    made = sorted(set(folder.glob("*.whl")) - before)
    if done.returncode or len(made) != 1:
        raise BuildError(
            f"no wheel could be built of '{name}' in '{source}': {done.stderr.strip()[-500:]}",
            hint=f"`cd {source} && pip wheel --no-deps .` shows all of it",
        )
    return made[0]


def _backend(source: Path) -> str | None:
    try:
        text = (source / "pyproject.toml").read_text()
    except OSError:
        return None
    found = re.search(r"""^build-backend\s*=\s*["']([\w.]+)["']""", text, re.MULTILINE)
    return None if found is None or "backend-path" in text else found[1]


def _packed(found: Distribution, folder: Path) -> Path:
    """Pack the files of an installation again: the same bytes for the same files, so that a device knows them."""
    name, version = found.metadata["Name"], found.version
    lines = (found.read_text("WHEEL") or "").splitlines()
    tags = [line.partition(": ")[2] for line in lines if line.startswith("Tag: ")]
    files = sorted(found.files or (), key=str)
    if len(tags) != 1 or not tags[0].endswith("-any") or not files:
        raise EnvironmentFault(
            f"'{name}' {version} cannot be carried to a device: its files are compiled, or not listed.",
            hint=f"install it on the device by hand, and deploy without --bootstrap: pip install {name}=={version}",
        )
    made = folder / f"{name.replace('-', '_')}-{version}-{tags[0]}.whl"
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            in_info = file.parent.name.endswith(".dist-info")
            if ".." in file.parts or file.suffix == ".pyc" or (in_info and file.name in _NOT_PACKED):
                continue
            data = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.writerow([str(file), f"sha256={digest}", len(data)])
            archive.writestr(_entry(str(file)), data)
        info = next(str(file.parent) for file in files if file.name == "METADATA")
        rows.writerow([f"{info}/RECORD", "", ""])
        archive.writestr(_entry(f"{info}/RECORD"), record.getvalue())
    return made


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
