"""Whether a bundle's folder holds exactly what its manifest lists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgekit._reading import inside
from edgekit._record import digest_of_file
from edgekit.bundle.manifest import AGAIN, INPUTS, MANIFEST, OUTPUTS, RUNS, File, Manifest
from edgekit.errors import ArtifactError

PREPARED = "prepared"
"""The folder of a finished bundle with the payload that it was finished from."""

SHOWN = 5
"""How many files are named that the manifest does not list."""


def check_files(path: Path, manifest: Manifest) -> None:
    """Hash every file. Raises ArtifactError with each file that is missing, altered, outside the bundle, or not listed
    where a runtime or a task could read it, and for stored samples that are not complete.
    """
    listed = {file.path for file in manifest.files}
    prepared = manifest.prepared.parts if manifest.prepared else ()
    problems = []
    for bundled in (*manifest.parts, *prepared):
        problems += [f"the manifest lists '{name}' without its hash" for name in bundled.payload if name not in listed]
        if not bundled.part.outputs:
            problems.append(f"the manifest lists no outputs of the part '{bundled.part.name}'")
        if not bundled.payload:
            problems.append(f"the manifest lists no files of the part '{bundled.part.name}'")
    problems += [problem for file in manifest.files if (problem := _problem(path, file))]
    problems += [f"'{name}' is not listed in the manifest" for name in unlisted(path, manifest) if _is_read(name)]
    problems += _sample_problems(manifest)
    _raise(path, problems)


def check_file(path: Path, manifest: Manifest, name: str) -> None:
    """Hash one file of a bundle. Raises ArtifactError where it is not listed, missing, altered or outside."""
    file = next((file for file in manifest.files if file.path == name), None)
    problem = f"'{name}' is not listed in the manifest" if file is None else _problem(path, file)
    _raise(path, [problem] if problem else [])


def unlisted(path: Path, manifest: Manifest) -> list[str]:
    """Return the files in a bundle's folder that the manifest does not list: they are not part of the bundle."""
    listed = {MANIFEST, *(file.path for file in manifest.files)}
    return sorted(name for name in _names(path) if name not in listed)


def notes(path: Path, manifest: Manifest) -> tuple[str, ...]:
    """Return what a report of the bundle says about its proof: files that are not part of it, and a missing digest."""
    lines = []
    if names := unlisted(path, manifest):
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"not part of the bundle, as the manifest does not list them: {', '.join(names[:SHOWN])}{more}")
    if manifest.seal is None:
        lines.append("the manifest has no digest, as before schema 3: a change of its own values would not be noticed")
    return tuple(lines)


def _names(path: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from ((Path(folder) / name).relative_to(path).as_posix() for name in (*files, *links))


def _is_read(name: str) -> bool:
    """Return whether a runtime or a task may read a file by its own name; a file manager's `._model.onnx` is not."""
    return name.startswith((*RUNS, f"{PREPARED}/")) and not PurePosixPath(name).name.startswith(".")


def _problem(path: Path, file: File) -> str | None:
    name, place = file.path, path / file.path
    try:
        if not inside(path, name):
            return f"'{name}' is outside the bundle"
        if not place.is_file():
            return f"'{name}' is missing"
        size = place.stat().st_size
        if size != file.bytes:
            return f"'{name}' has {size} bytes; in the manifest it has {str(file.bytes)[:20]}"
        if digest_of_file(place) != file.sha256:
            return f"'{name}' was altered: its SHA-256 is not the one in the manifest"
    except OSError as error:
        return f"'{name[:100]}' cannot be read: {error.strerror}"
    return None


def _sample_problems(manifest: Manifest) -> list[str]:
    listed = {file.path for file in manifest.files}
    inputs = manifest.stored_inputs
    problems = [f"the sample '{name}' has no outputs beside it" for name in inputs if outputs_of(name) not in listed]
    if manifest.stored is not None and manifest.stored != len(inputs):
        problems.append(f"{manifest.stored} samples were stored, and {len(inputs)} are listed")
    return problems


def outputs_of(name: str) -> str:
    """Return the path of the outputs that belong to a stored sample's inputs."""
    return name.removesuffix(INPUTS) + OUTPUTS


def _raise(path: Path, problems: list[str]) -> None:
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ArtifactError(f"the bundle '{path}' failed its integrity check:{lines}", hint=AGAIN)
