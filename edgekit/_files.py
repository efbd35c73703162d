"""Files and folders that are written under a temporary name and renamed into place: whole or not at all.

The temporary name is `.NAME.PID.new`, so that the leftovers of a killed process are recognised and removed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgekit._process import alive


def temporary_path(path: Path) -> Path:
    """Return the temporary name, in the same folder, under which this process writes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the file to write; it is renamed to `path` at the end of the block, unless the block raises."""
    remove_leftovers(path.parent, f".{path.name}.")
    part = temporary_path(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(root: Path, prefix: str = "") -> None:
    """Remove files and folders named `PREFIX*.PID.*` in `root` whose process has ended: a killed run left them."""
    for path in root.glob(f"{glob.escape(prefix)}*"):
        parts = path.name.rsplit(".", 2)
        if len(parts) == 3 and parts[1].isdigit() and not alive(int(parts[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
