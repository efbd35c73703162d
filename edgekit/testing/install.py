"""Install tiny distributions, as a folder on the path with their metadata, and remove them again."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgekit import registry


def install(
    folder: Path,
    name: str,
    entry_points: Mapping[str, Mapping[str, str]],
    files: Mapping[str, str] | None = None,
    *,
    version: str = "1.0",
) -> Path:
    """Write a distribution into `folder` as pip does: its files and a dist-info with these entry points.

    `entry_points` maps a group to names and values, as {"edgekit.backends": {"mine": "my_module:Mine"}}.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for group, points in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for path, text in (files or {}).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Add a folder of distributions to the path of this process and its children, and refresh the registry."""
    before = os.environ.get("PYTHONPATH")
    modules = set(sys.modules)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    _refresh()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if Path(file).is_relative_to(folder):
                del sys.modules[name]
        _refresh()


@contextmanager
def fake_plugin() -> Iterator[None]:
    """Install the fake plugin: source `fake`, pass `fake-round`, backends `numpy` and `numpy-portable`."""
    points = {
        "edgekit.sources": {"fake": "edgekit.testing.fake:FakeSource"},
        "edgekit.passes": {"fake-round": "edgekit.testing.fake:FakeRound"},
        "edgekit.backends": {
            "numpy": "edgekit.testing.fake:NumpyBackend",
            "numpy-portable": "edgekit.testing.finishable:PortableNumpy",
        },
    }
    with tempfile.TemporaryDirectory(prefix="edgekit-fake-") as folder:
        install(Path(folder), "edgekit-fake", points)
        with installed(Path(folder)):
            yield


def _refresh() -> None:
    importlib.invalidate_caches()
    registry.forget()
