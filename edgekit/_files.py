"""Files and folders that are written under a temporary name and renamed into place: whole or not at all.

What a process writes meanwhile has a random name that it claims with a lock on a file beside it. The kernel releases
the lock when the process ends, however it ends, so another process, of another container or host that shares the
folder too, recognises what a killed one left. A process id would not do: every container has its own process 1.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = ".lock"
_RANDOM_BYTES = 4

MOST_BYTES = 180
"""Longer names are cut in temporary names, which add some 30 bytes: most file systems allow 255."""


@contextlib.contextmanager
def claimed(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield a path in `folder`, `PREFIX.RANDOM`, that is this process's alone; nothing is there yet.

    After the block what has that name, alone or with a suffix, is removed. Raises OSError where `folder` cannot be
    written.
    """
    while True:
        base = folder / f"{prefix}.{secrets.token_hex(_RANDOM_BYTES)}"
        lock = base.with_name(base.name + LOCK)
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o644)
        if _locked(descriptor) is not False and _is_there(lock, descriptor):
            break
        os.close(descriptor)  # another process saw it before it was locked, and took it for a leftover
    try:
        yield base
    finally:
        _remove(base)
        _release(lock, descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the file to write; it is renamed to `path` at the end of the block, unless the block raises."""
    prefix = hidden(path)
    remove_leftovers(path.parent, prefix)
    with claimed(path.parent, prefix) as base:
        part = base.with_name(f"{base.name}.new")
        yield part
        part.replace(path)


def hidden(path: Path) -> str:
    """Return the beginning of the temporary names of `path`; that of a long name ends with a digest of it."""
    name = os.fsencode(path.name)
    if len(name) <= MOST_BYTES:
        return f".{path.name}"
    start = os.fsdecode(name[: MOST_BYTES - 20]).encode("utf-8", "replace").decode("utf-8", "replace")
    return f".{start}-{hashlib.sha256(name).hexdigest()[:12]}"


def remove_leftovers(folder: Path, prefix: str = "", rescue: Callable[[Path], None] | None = None) -> None:
    """Remove what processes that have ended claimed in `folder` under names that begin with `prefix`.

    `rescue` is called with each claimed path first, and may move what was written there elsewhere.
    """
    for lock in folder.glob(f"{glob.escape(prefix) or '*'}.{'[0-9a-f]' * 2 * _RANDOM_BYTES}{LOCK}"):
        try:
            descriptor = os.open(lock, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            continue  # removed meanwhile, or another user's
        if _locked(descriptor) and _is_there(lock, descriptor):
            base = lock.with_name(lock.name.removesuffix(LOCK))
            if rescue is not None:
                rescue(base)
            _remove(base)
            _release(lock, descriptor)
        else:
            os.close(descriptor)


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keep a lock on `path` in the block: many processes can have it at once, but none has it `alone` meanwhile."""
    with _opened(path) as descriptor:
        _locked(descriptor, exclusive=False, wait=True)
        yield


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Yield whether this process alone has the lock on `path`; it holds it in the block."""
    with _opened(path) as descriptor:
        yield _locked(descriptor) is not False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int, *, exclusive: bool = True, wait: bool = False) -> bool | None:
    """Lock an open file and return whether that succeeded; None on a file system without locks, where nothing can be
    known of other processes.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return False if sys.platform == "win32" else None
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    """Return whether the open file still has this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _release(lock: Path, descriptor: int) -> None:
    if sys.platform == "win32":  # an open file cannot be removed there
        os.close(descriptor)
        lock.unlink(missing_ok=True)
        return
    lock.unlink(missing_ok=True)
    os.close(descriptor)


def _remove(base: Path) -> None:
    for path in (base, *base.parent.glob(f"{glob.escape(base.name)}.*")):
        if path.name.endswith(LOCK):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
