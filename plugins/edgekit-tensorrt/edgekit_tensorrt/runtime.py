"""Find the board's own TensorRT: the module of this environment, or the one that the system's packages brought.

JetPack installs `tensorrt` for the system's Python. A private environment does not see it, so it is looked up there:
one from an index would be another version, and engines belong to a version.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import EnvironmentFault

SYSTEM = (
    "usr/lib/python{0}.{1}/dist-packages",
    "usr/lib/python3/dist-packages",
    "usr/local/lib/python{0}.{1}/dist-packages",
)
"""Where Debian's and JetPack's packages put modules."""

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""The plugin's name of a runtime, and its module."""

MISSING = {
    "tensorrt": "on a Jetson: sudo apt-get install python3-libnvinfer; elsewhere: pip install tensorrt",
    "rtx": "pip install 'edgekit-tensorrt[rtx]'",
}


def module(runtime: str = "tensorrt", root: Path = Path("/")) -> Any:
    """Import and give the module of a runtime. Raises EnvironmentFault when it is missing or broken."""
    name = MODULES[runtime]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(name, error) from error
    except Exception as error:  # a library that is missing, or for another Python
        raise _broken(name, error) from error
    folder = system_folder(name, root)
    if folder is None:
        raise EnvironmentFault(f"the Python module '{name}' is not here.", hint=MISSING[runtime])
    try:
        return _load(name, folder)
    except Exception as error:
        raise _broken(f"{folder}", error) from error


def system_folder(name: str, root: Path = Path("/")) -> Path | None:
    """Return the folder of a module among the system's packages."""
    for place in SYSTEM:
        folder = root / place.format(*sys.version_info[:2]) / name
        if (folder / "__init__.py").is_file():
            return folder
    return None


def _load(name: str, folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    try:
        spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[name]
        raise
    return made


def _broken(name: str, error: BaseException) -> EnvironmentFault:
    python = ".".join(map(str, sys.version_info[:2]))
    return EnvironmentFault(
        f"'{name}' does not import in Python {python}: {error}.",
        hint="use the system's Python, for which it was installed (`edgekit deploy --bootstrap` takes that one)",
    )
