"""The step cache: a result is kept under a digest of everything that decides it, so that a killed export loses one
step at most.

An entry is a folder that is written under a temporary name and renamed into place, with the hash of every file in it;
an entry that does not match its hashes is removed and built again. Two exports that need the same step at once wait
for each other on a file lock, which the kernel releases when a process dies: in whatever container or, where the file
system carries locks, host it ran. A process keeps what it has fetched: until it ends, `clear` leaves that in place.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import glob
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit import _in_use
from edgekit._files import remove, remove_leftovers, temporary_folder
from edgekit._record import Record, digest_of_file
from edgekit.errors import BuildError, DeviceError, UsageError
from edgekit.target import host

_RECORD = "entry.json"
_USES = "uses"


@dataclass(frozen=True)
class Entry(Record):
    """One cached step."""

    key: str
    step: str
    created: str
    files: dict[str, str]
    """SHA-256 by relative path."""
    bytes: int


def folder() -> Path:
    """Return the cache folder: `$EDGEKIT_CACHE_DIR`, or `edgekit` in the user's cache directory.

    Raises UsageError where no folder is named and the user has no home folder.
    """
    if explicit := os.environ.get("EDGEKIT_CACHE_DIR"):
        return Path(explicit)
    if explicit := os.environ.get("XDG_CACHE_HOME"):
        return Path(explicit) / "edgekit"
    home = host.home()
    if home is None:
        raise UsageError(
            "the cache has no folder: this user has no home folder.",
            hint="name one with --cache-dir, or in EDGEKIT_CACHE_DIR",
        )
    return home / ".cache" / "edgekit"


def fetch(key: str, step: str, make: Callable[[Path], Path | None]) -> tuple[Path, bool]:
    """Return the folder of the step with this key and whether it was cached; if it was not, `make` fills an empty
    folder.

    A `make` that returns a folder of its own built something that must not be cached: that folder is returned, and the
    next call builds it again. Nothing of a failed or interrupted `make` stays. Raises UsageError when the cache cannot
    be written, DeviceError on a full disk.
    """
    root = folder()
    final = root / "steps" / key[:2] / key
    with disk_faults(root, "the cache"):
        final.parent.mkdir(parents=True, exist_ok=True)
        with _lock(root / "locks" / key):
            _in_use.mark(root / _USES, key)
            if _is_intact(final):
                return final, True
            shutil.rmtree(final, ignore_errors=True)
            with workdir(step) as work:
                if (elsewhere := make(work)) is not None:
                    return elsewhere, False
                _write_entry(work, key, step)
                work.rename(final)
    return final, False


@contextlib.contextmanager
def workdir(step: str) -> Iterator[Path]:
    """Yield an empty folder on the cache's disk, removed after the block; leftovers of dead processes are removed
    first.
    """
    root = folder() / "work"
    with contextlib.ExitStack() as stack:
        with disk_faults(root, "the cache"):
            root.mkdir(parents=True, exist_ok=True)
            remove_leftovers(root)
            work = stack.enter_context(temporary_folder(root, step))
        yield work


@contextlib.contextmanager
def partial(key: str, step: str) -> Iterator[Path]:
    """Yield the folder of a long step that has not finished, with the files that a killed run left there.

    It stays when the block ends: its user writes each file whole or not at all. One process uses it at a time. Raises
    what `fetch` raises.
    """
    root = folder()
    with disk_faults(root, "the cache"), _lock(root / "locks" / key):
        place = _partial(key, step)
        place.mkdir(parents=True, exist_ok=True)
        yield place


def usage() -> tuple[Entry, ...]:
    """Return the entries, oldest first."""
    return tuple(sorted((*_steps(), *_partials()), key=lambda entry: (entry.created, entry.key)))


def clear() -> int:
    """Remove every entry and return the number of bytes freed. What a running process uses or works on stays."""
    root = folder()
    freed = sum(entry.bytes for entry in _steps() if _remove_idle(entry, root / "steps" / entry.key[:2] / entry.key))
    freed += sum(entry.bytes for entry in _partials() if _remove_idle(entry, _partial(entry.key, entry.step)))
    if (root / "work").is_dir():
        remove_leftovers(root / "work")
        for path in (root / "work").iterdir():  # an earlier edgekit left folders without a lock
            if not any((root / "work").glob(f"{glob.escape(path.stem)}.lock")):
                remove(path)
    return freed


@contextlib.contextmanager
def disk_faults(path: Path, what: str) -> Iterator[None]:
    """Translate errors of the file system while `what` is written below `path` into our errors."""
    try:
        yield
    except BuildError as error:  # a pass or a compiler can fail only because the disk is full
        if _full(error.__cause__):
            raise _disk_full(path, what) from error
        raise
    except OSError as error:
        if _full(error):
            raise _disk_full(path, what) from error
        where = error.filename or path
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "the file system is read-only" if error.errno == errno.EROFS else "permission denied"
            raise UsageError(
                f"cannot write {what} to '{where}': {reason}.",
                hint="choose another place with --output, or with --cache-dir for the cache",
            ) from error
        raise


def _full(error: BaseException | None) -> bool:
    if isinstance(error, shutil.Error):  # of a folder that was copied: it has its reasons as text alone
        return any(f"[Errno {number}]" in str(error) for number in (errno.ENOSPC, errno.EDQUOT))
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _disk_full(where: Path, what: str) -> DeviceError:
    return DeviceError(
        f"the disk is full: {what} could not be written to '{where}'.",
        hint="free some space (`edgekit cache clear` empties edgekit's cache), or give another --output or --cache-dir",
    )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def _steps() -> Iterator[Entry]:
    for path in folder().glob(f"steps/*/*/{_RECORD}"):
        with contextlib.suppress(OSError, ValueError, UsageError):
            yield Entry.from_dict(json.loads(path.read_text()), str(path))


def _partials() -> Iterator[Entry]:
    """Yield an entry for the folder of each unfinished long step, without hashes, as its files still change."""
    for path in folder().glob("partial/*.*"):
        step, _, key = path.name.rpartition(".")
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        modified = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.timezone.utc)
        yield Entry(key, step, modified.isoformat(timespec="seconds"), {}, size)


def _partial(key: str, step: str) -> Path:
    return folder() / "partial" / f"{step}.{key}"


def _remove_idle(entry: Entry, place: Path) -> bool:
    """Remove the folder of an entry unless a process uses it or works in it; return whether it was removed."""
    from filelock import FileLock, Timeout

    lock = folder() / "locks" / entry.key
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, blocking=False):
            if entry.key in _in_use.of_others(folder() / _USES):
                return False
            shutil.rmtree(place, ignore_errors=True)
    except Timeout:
        return False
    return True


def _write_entry(work: Path, key: str, step: str) -> None:
    files = {p.relative_to(work).as_posix(): digest_of_file(p) for p in sorted(work.rglob("*")) if p.is_file()}
    size = sum((work / name).stat().st_size for name in files)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    (work / _RECORD).write_text(json.dumps(Entry(key, step, now, files, size).to_dict()))


def _is_intact(path: Path) -> bool:
    try:
        entry = Entry.from_dict(json.loads((path / _RECORD).read_text()))
        return all(digest_of_file(path / name) == sha for name, sha in entry.files.items())
    except (OSError, ValueError, UsageError):
        return False
