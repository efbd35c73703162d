"""Find the board's TensorRT: the module in this environment, or the one that the system's packages installed.

JetPack installs `tensorrt` for the system's Python. A virtual environment does not include it, so it is loaded from
there: a package from an index could be another version, and an engine is read by its version only.
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
"""Where Debian's and JetPack's packages install modules."""

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""The module of each runtime, by the plugin's name of it."""

MISSING = {
    "tensorrt": "on a Jetson: sudo apt-get install python3-libnvinfer; elsewhere: pip install tensorrt",
    "rtx": "pip install 'edgekit-tensorrt[rtx]'",
}


def module(runtime: str = "tensorrt", root: Path = Path("/")) -> Any:
    """Import the module of a runtime and return it. Raises EnvironmentFault when it is missing or broken."""
    name = MODULES[runtime]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(name, error) from error
    except Exception as error:  # a library is missing, or it is for another Python
        raise _broken(name, error) from error
    folder = system_folder(name, root)
    if folder is None:
        raise EnvironmentFault(f"the Python module '{name}' is not installed.", hint=MISSING[runtime])
    try:
        return _load(name, folder)
    except Exception as error:
        raise _broken(f"{folder}", error) from error


def system_folder(name: str, root: Path = Path("/")) -> Path | None:
    """Return the folder of a module in the system's packages; None where it is not installed."""
    for packages in SYSTEM:
        folder = root / packages.format(*sys.version_info[:2]) / name
        if (folder / "__init__.py").is_file():
            return folder
    return None


def _load(name: str, folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


def _broken(name: str, error: BaseException) -> EnvironmentFault:
    python = ".".join(map(str, sys.version_info[:2]))
    return EnvironmentFault(
        f"'{name}' cannot be imported in Python {python}: {error}.",
        hint="use the system's Python, for which it is installed (`edgekit deploy --bootstrap` uses it)",
    )
