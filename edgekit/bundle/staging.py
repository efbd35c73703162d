"""A bundle on the way to its place: filled and sealed in a folder beside it, then renamed into place in one move.

What stands at the place already stays as it was until then.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from edgekit import cache, registry
from edgekit._files import remove_leftovers, temporary_path
from edgekit._process import alive
from edgekit._record import digest_of_file
from edgekit._version import __version__
from edgekit.bundle.bundle import MANIFEST, PAYLOAD, BundledPart, File, Manifest
from edgekit.errors import DeviceError, UsageError
from edgekit.plugin import Built, Evidence, Part


def check(path: Path, *, force: bool) -> None:
    """Refuse, before any work, an output that exists or cannot be written. `force` replaces a bundle, and nothing
    else.
    """
    try:
        _check_place(path, force=force)
        _try_write(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DeviceError(
                f"the disk is full: '{path}' cannot be written.", hint="free some space, or give another --output"
            ) from error
        reason = error.strerror or str(error)
        raise UsageError(f"cannot write '{path}': {reason}.", hint="choose another folder with --output") from error


@contextlib.contextmanager
def folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a folder beside `path` that replaces it when the block succeeds and is removed when it fails.

    Only with `force` it replaces a folder with files in it, also one that came to be while the block ran.
    """
    with cache.disk_faults(path, "the bundle"):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
        stage = temporary_path(path)
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        stage.mkdir()
        try:
            yield stage
            _take_place(stage, path, old if force else None)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def fill(stage: Path, compiled: Sequence[tuple[Part, Built, Path]], backend: str) -> dict[str, Any]:
    """Copy what a backend built of each part, in a work folder each, into `stage`, and return what the manifest says
    of it, by field. The evidence is the weakest of the parts'.
    """
    parts, stored = [], list[Path]()
    for part, built, work in compiled:
        folder = PAYLOAD if len(compiled) == 1 else f"{PAYLOAD}/{part.name}"
        payload = tuple(f"{folder}/{name}" for name in built.files)
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
    """Link or copy `source` to `to`: without a second copy of the bytes where the disk can."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, to)
    except OSError:
        shutil.copyfile(source, to)


def _store(source: Path, to: Path, stored: list[Path]) -> None:
    """Copy a file; where an equal one is stored already, link to it: parts often share their weights."""
    equal = next((path for path in stored if filecmp.cmp(path, source, shallow=False)), None)
    if equal is None:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
    else:
        link(equal, to)
    stored.append(to)


def seal(stage: Path, manifest: Manifest) -> Manifest:
    """Hash every file below `stage` that the manifest does not list yet, and write it: the last file of a bundle."""
    listed = {file.path for file in manifest.files}
    paths = sorted(p for p in stage.rglob("*") if p.is_file() and p.name != MANIFEST)
    new = [p for p in paths if p.relative_to(stage).as_posix() not in listed]
    added = [File(p.relative_to(stage).as_posix(), p.stat().st_size, digest_of_file(p)) for p in new]
    files = tuple(sorted((*manifest.files, *added), key=lambda file: file.path))
    sealed = replace(manifest, files=files)
    (stage / MANIFEST).write_text(json.dumps(sealed.to_dict(), indent=1) + "\n")
    return sealed


def _check_place(path: Path, *, force: bool) -> None:
    if path.exists() and not path.is_dir():
        raise UsageError(f"the output '{path}' exists and is a file.", hint="choose another folder with --output")
    if path.exists() and any(path.iterdir()):
        if not (path / MANIFEST).exists():
            raise UsageError(
                f"the output '{path}' exists and is not a bundle.", hint="choose another folder with --output"
            )
        if not force:
            raise UsageError(
                f"the output '{path}' exists.", hint="replace it with --force, or choose another with --output"
            )


def _try_write(path: Path) -> None:
    """Make and remove a folder where the bundle will be staged: permission bits alone do not tell (root, /proc)."""
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"'{parent}' is not a folder")
    if not os.access(parent, os.W_OK):
        raise PermissionError(errno.EACCES, f"'{parent}' is not writable")
    trial = temporary_path(parent / path.name)
    trial.mkdir()
    trial.rmdir()


def _take_place(stage: Path, path: Path, old: Path | None) -> None:
    """Rename `stage` to `path`, moving what is there to `old`; without `old` only an empty folder gives way."""
    while True:
        if old is not None:
            with contextlib.suppress(FileNotFoundError):
                path.rename(old)
        try:
            stage.rename(path)  # the kernel refuses to rename over a folder that holds something
            return
        except BaseException as error:
            if old is not None and old.exists() and not path.exists():
                old.rename(path)
            if not isinstance(error, OSError) or error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if old is None:
                raise UsageError(
                    f"the output '{path}' came to exist during this export: another one wrote it.",
                    hint="choose another --output, or replace it with --force; the steps are cached",
                ) from error
            shutil.rmtree(old, ignore_errors=True)  # another export with --force was faster: the last one stays


def _clear_leftovers(path: Path) -> None:
    """Remove what a killed run left beside the output; an old bundle that lost its place is put back first."""
    for old in path.absolute().parent.glob(f".{path.name}.*.old"):
        pid = old.name.rsplit(".", 2)[1]
        if not path.exists() and pid.isdigit() and not alive(int(pid)):
            old.rename(path)
    remove_leftovers(path.absolute().parent, f".{path.name}.")
