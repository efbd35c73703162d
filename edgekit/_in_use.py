"""What running processes use of a shared folder: each has a list of keys there, locked as long as it lives."""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from pathlib import Path

from edgekit._files import claimed, remove_leftovers

_PREFIX = "process"
_KEYS = ".keys"


def mark(folder: Path, key: str) -> None:
    """Record in `folder` that this process uses `key` until it ends."""
    _own(folder.absolute(), os.getpid()).add(key)


def of_others(folder: Path) -> frozenset[str]:
    """Return the keys that other running processes use; the lists of those that ended are removed."""
    if not folder.is_dir():
        return frozenset()
    remove_leftovers(folder, _PREFIX)
    own = _own(folder.absolute(), os.getpid()).path
    lists = [path for path in folder.absolute().glob(f"{_PREFIX}.*{_KEYS}") if path != own]
    keys: set[str] = set()
    for path in lists:
        with contextlib.suppress(FileNotFoundError):  # its process has just ended
            keys.update(path.read_text().splitlines())
    return frozenset(keys)


class _List:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, _PREFIX)
        stack = contextlib.ExitStack()
        self.path = folder / f"{stack.enter_context(claimed(folder, _PREFIX))}{_KEYS}"
        stack.callback(self.path.unlink, missing_ok=True)
        self._keys: set[str] = set()
        weakref.finalize(self, _end, stack, folder, os.getpid())

    def add(self, key: str) -> None:
        if key in self._keys and self.path.exists():
            return
        with self.path.open("a") as file:
            file.write(f"{key}\n")
        self._keys.add(key)


def _end(stack: contextlib.ExitStack, folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a child that was forked
        with contextlib.suppress(OSError):
            stack.close()
            folder.rmdir()  # where no other process has a list in it


@functools.lru_cache(maxsize=1)
def _own(folder: Path, process: int) -> _List:
    return _List(folder)
