"""Files and folders that are written under a temporary name and renamed into place: whole or not at all.

A temporary name is `PREFIX.TOKEN.*` with a random token. Its owner holds a lock on `PREFIX.TOKEN.lock` in the same
folder, which the kernel releases when the owner ends: so the leftovers of a killed process are recognised and removed
from another container too, where process ids mean nothing, and from another host where the file system carries locks.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

NAME_BYTES = 200
"""A longer name is cut in its temporary name, which has 22 bytes more: file systems allow 255."""

_TOKEN = "[0-9a-f]" * 16

ASIDE = ".old"
"""The suffix of the temporary name of what is replaced."""

_FROM_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of renameat2."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""The file system supports no locks: then nothing is locked there, and nothing is taken for a leftover."""


@contextlib.contextmanager
def claimed(folder: Path, prefix: str) -> Iterator[str]:
    """Yield a name `PREFIX.TOKEN` in `folder`: `remove_leftovers` keeps what begins with it during the block."""
    from filelock import FileLock, Timeout

    while True:
        name = f"{prefix}.{os.urandom(8).hex()}"
        path = folder / f"{name}.lock"
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:  # another process took the new file for a leftover, before it was locked
            continue
        except (NotImplementedError, OSError) as error:
            if not _without_locks(error):
                raise
        if path.exists():
            break
        lock.release()
    try:
        yield name
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def abandoned(folder: Path, prefix: str | None = None) -> Iterator[str]:
    """Yield each name `PREFIX.TOKEN` that a process claimed before it was killed; then remove what begins with it.

    Without `prefix` these are all names in the folder.
    """
    from filelock import FileLock, Timeout

    for path in sorted(folder.glob(f"{'*' if prefix is None else glob.escape(prefix)}.{_TOKEN}.lock")):
        name = path.name.removesuffix(".lock")
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except (Timeout, NotImplementedError, OSError):  # in use, or another user's
            continue
        try:
            yield name
            for leftover in folder.glob(f"{glob.escape(name)}.*"):
                if leftover != path:
                    remove(leftover)
            path.unlink(missing_ok=True)
        finally:
            lock.release()


def remove_leftovers(folder: Path, prefix: str | None = None) -> None:
    """Remove the files and folders with `claimed` names in `folder` whose process has ended: a killed run left them."""
    for _ in abandoned(folder, prefix):
        pass


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, as far as the file system allows."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def hidden(path: Path) -> str:
    """Return the prefix of the temporary names of `path`, which is shorter than a long name."""
    if len(os.fsencode(path.name)) <= NAME_BYTES:
        return f".{path.name}"
    return f".{path.name[:40]}-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}"


@contextlib.contextmanager
def temporary_folder(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in `folder`, for this user alone; it is removed at the end of the block."""
    with claimed(folder, prefix) as name:
        path = folder / f"{name}.d"
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            remove(path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the file to write; it is renamed to `path` at the end of the block, unless the block raises."""
    remove_leftovers(path.parent, hidden(path))
    with claimed(path.parent, hidden(path)) as name:
        part = path.with_name(f"{name}.new")
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def exchange(first: Path, second: Path) -> bool:
    """Swap two files or folders in one step, and return whether that was done.

    It is not where one of them is missing, or where the system or the file system cannot.
    """
    import ctypes

    swap = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux with glibc 2.28 or musl 1.2.6
    return swap is not None and swap(_FROM_HERE, os.fsencode(first), _FROM_HERE, os.fsencode(second), _EXCHANGE) == 0


def displaced(path: Path) -> Path | None:
    """Return the folder that a killed run moved aside from `path`, where it could not exchange the two."""
    aside = sorted(path.parent.glob(f"{glob.escape(hidden(path))}.{_TOKEN}{ASIDE}"))
    return aside[-1] if aside and not path.exists() else None


def _without_locks(error: Exception) -> bool:
    return isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in _NO_LOCKS)
