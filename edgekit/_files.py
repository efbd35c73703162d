"""Files and folders that are written beside their place and renamed into it: whole or not at all.

Until then each is named `.NAME.PID.new`, so that what a killed process left is recognised and removed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgekit._process import alive


def beside(path: Path) -> Path:
    """Return the name under which this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the file to write; it takes the place of `path` at the end of the block, unless that raises."""
    remove_leftovers(path.parent, f".{path.name}.")
    part = beside(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(root: Path, prefix: str = "") -> None:
    """Remove what is named `PREFIX*.PID.*` in `root` and whose process is gone: a killed run could not do it itself."""
    for path in root.glob(f"{glob.escape(prefix)}*"):
        parts = path.name.rsplit(".", 2)
        if len(parts) == 3 and parts[1].isdigit() and not alive(int(parts[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
