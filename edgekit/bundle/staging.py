"""Write a bundle: it is filled and sealed in a folder beside its path, then renamed to it in one step.

An older bundle at the path does not change until then.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from edgekit import cache, registry
from edgekit._files import ASIDE, abandoned, claimed, exchange, hidden, remove
from edgekit._record import digest_of_file
from edgekit._version import __version__
from edgekit.bundle import manifest as manifests
from edgekit.bundle.manifest import MANIFEST, PAYLOAD, BundledPart, File, Manifest
from edgekit.errors import DeviceError, UsageError
from edgekit.plugin import Built, Evidence, Part


def check(path: Path, *, force: bool) -> None:
    """Raise, before any work, UsageError or DeviceError for an output that exists or cannot be written. With `force` an
    existing bundle is allowed, nothing else.
    """
    try:
        place = _place(path)
        _check_place(place, path, force=force)
        _try_write(place)
    except (OSError, RuntimeError) as error:  # a circle of links is a RuntimeError before Python 3.13
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DeviceError(
                f"the disk is full: '{path}' cannot be written.", hint="free some space, or choose another --output"
            ) from error
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(f"cannot write '{path}': {reason}.", hint="choose another folder with --output") from error


@contextlib.contextmanager
def folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a folder beside `path` that replaces it when the block succeeds and is removed when it fails.

    It replaces a folder with files only with `force`; then also one that was created while the block ran.
    """
    with cache.disk_faults(path, "the bundle"):
        place = _place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(place)
        with claimed(place.parent, hidden(place)) as name:
            stage, old = place.with_name(f"{name}.new"), place.with_name(f"{name}{ASIDE}")
            stage.mkdir()
            try:
                yield stage
                _take_place(stage, place, old if force else None, path)
            finally:
                remove(stage)
                remove(old)


def fill(stage: Path, compiled: Sequence[tuple[Part, Built, Path]], backend: str) -> dict[str, Any]:
    """Copy the files that a backend built of each part, in its own work folder, into `stage`, and return the manifest's
    fields of them. The evidence is the weakest of the parts'.
    """
    parts, stored = [], list[Path]()
    for part, built, work in compiled:
        part_folder = PAYLOAD if len(compiled) == 1 else f"{PAYLOAD}/{part.name}"
        payload = tuple(f"{part_folder}/{name}" for name in built.files)
        for name, path in zip(built.files, payload, strict=True):
            _store(work / name, stage / path, stored)
        parts.append(BundledPart(built.part or part, payload, built.options, built.requires))
    return {
        "evidence": min((built.evidence for _, built, _ in compiled), key=get_args(Evidence).index),
        "parts": tuple(parts),
        "portable": any(built.portable for _, built, _ in compiled),
        "versions": {"edgekit": __version__, "plugin": registry.distribution("backend", backend)},
    }


def link(source: Path, to: Path) -> None:
    """Link `source` to `to`; copy it where the file system does not support links."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, to)
    except OSError:
        shutil.copyfile(source, to)


def _store(source: Path, to: Path, stored: list[Path]) -> None:
    """Copy a file, or link to an equal one that is stored already: parts often share their weights."""
    equal = next((path for path in stored if filecmp.cmp(path, source, shallow=False)), None)
    if equal is None:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
    else:
        link(equal, to)
    stored.append(to)


def seal(stage: Path, manifest: Manifest) -> Manifest:
    """Add the hash of every file below `stage` that the manifest does not list yet, and write it with its own digest:
    the last file of a bundle.
    """
    listed = {file.path for file in manifest.files}
    paths = sorted(path for path in stage.rglob("*") if path.is_file() and path.name != MANIFEST)
    new = [path for path in paths if path.relative_to(stage).as_posix() not in listed]
    added = [File(path.relative_to(stage).as_posix(), path.stat().st_size, digest_of_file(path)) for path in new]
    files = tuple(sorted((*manifest.files, *added), key=lambda file: file.path))
    return manifests.write(stage, replace(manifest, files=files))


def _place(path: Path) -> Path:
    """Return the folder that an output names, with links followed. Raises UsageError for one that cannot be replaced:
    the working folder or one that holds it.
    """
    place = path.resolve()
    here = Path.cwd()
    if place == here or place in here.parents:
        raise UsageError(
            f"the output '{path}' is the working folder, or holds it: a bundle replaces its folder as a whole.",
            hint=f"give a folder in it, as --output {Path(os.path.relpath(place, here)) / 'bundle'}",
        )
    return place


def _check_place(place: Path, path: Path, *, force: bool) -> None:
    """Raise UsageError where something at `place` stays; `path` is its name in the user's words."""
    if place.exists() and not place.is_dir():
        raise UsageError(f"the output '{path}' exists and is a file.", hint="choose another folder with --output")
    if place.exists() and any(place.iterdir()):
        if not (place / MANIFEST).exists():
            raise UsageError(
                f"the output '{path}' exists and is not a bundle.", hint="choose another folder with --output"
            )
        if not force:
            raise UsageError(
                f"the output '{path}' exists.", hint="replace it with --force, or choose another with --output"
            )


def _try_write(path: Path) -> None:
    """Make and remove a folder where the bundle will be staged: permission bits are not enough (root, /proc)."""
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"'{parent}' is not a folder")
    if not os.access(parent, os.W_OK):
        raise PermissionError(errno.EACCES, f"'{parent}' is not writable")
    with claimed(parent, hidden(path)) as name:
        trial = parent / f"{name}.new"
        trial.mkdir()
        trial.rmdir()
    if len(os.fsencode(path.name)) > os.pathconf(parent, "PC_NAME_MAX"):
        raise OSError(errno.ENAMETOOLONG, "the name is too long")


def _take_place(stage: Path, path: Path, old: Path | None, shown: Path) -> None:
    """Rename `stage` to `path`; without `old` replace only an empty folder.

    An older bundle is exchanged with it, so that a kill finds one of them at `path`; where the file system cannot, it
    is moved to `old` before.
    """
    while True:
        if old is not None:
            if exchange(stage, path):
                return
            with contextlib.suppress(FileNotFoundError):
                path.rename(old)
        try:
            stage.rename(path)  # the kernel does not rename over a folder with files
            return
        except BaseException as error:
            if old is not None and old.exists() and not path.exists():
                old.rename(path)
            if not isinstance(error, OSError) or error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if old is None:
                raise UsageError(
                    f"the output '{shown}' was created by another export while this one ran.",
                    hint="choose another --output, or replace it with --force; the steps are cached",
                ) from error
            shutil.rmtree(old, ignore_errors=True)  # another export with --force was faster; this one replaces it


def _clear_leftovers(path: Path) -> None:
    """Remove the files that a killed run left beside the output; first move a displaced older bundle back."""
    for name in abandoned(path.parent, hidden(path)):
        old = path.with_name(f"{name}{ASIDE}")
        if old.exists() and not path.exists():
            old.rename(path)
