"""The manifest of a bundle: what it is, what it requires, and the hash of every file; and its own digest.

Schema 3 has a digest over its own content, `seal`, so that no value of it can change unnoticed. Schema 2 had none, and
schema 1 no parts; both are still read.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit import _reading
from edgekit._files import displaced
from edgekit._record import Record, digest_of
from edgekit.errors import ArtifactError, UsageError
from edgekit.model import Part, State, Step, check_states, check_written
from edgekit.plugin import Evidence, Precision
from edgekit.spec import MODEL, TensorSpec
from edgekit.target.target import Target

SCHEMA = 3
SEALED_SINCE = 3
MANIFEST = "manifest.json"
PAYLOAD = "model"
SAMPLES = "samples"
INPUTS, OUTPUTS = ".inputs.npz", ".outputs.npz"
AGAIN = "copy or export the bundle again"

RUNS = (f"{PAYLOAD}/", "assets/")
"""The folders of the files that run: the payload and the assets."""


@dataclass(frozen=True)
class File(Record):
    """A file of the bundle: its relative path, size and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BundledPart(Record):
    """One part of the model in the bundle."""

    part: Part
    payload: tuple[str, ...]
    """Paths of its files; the first is the one to open."""
    options: Mapping[str, Any] = field(default_factory=dict)
    requires: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared(Record):
    """The portable content of a bundle that was finished on its device: it can be finished again from it."""

    parts: tuple[BundledPart, ...]
    digest: str
    """The portable bundle's digest."""


@dataclass(frozen=True)
class Manifest(Record):
    """The content of `manifest.json`."""

    name: str
    model: str
    """The reference that was exported."""
    task: str | None
    backend: str
    recipe: str
    target: Target
    asked: str
    effective: Precision | None
    evidence: Evidence
    parts: tuple[BundledPart, ...]
    lineage: tuple[Step, ...]
    states: tuple[State, ...] = ()
    """The tensors that the parts pass from call to call."""
    trusted: tuple[str, ...] = ()
    """Unsafe files that the user allowed: pickles, remote code."""
    deviation: float = 0.0
    """Relative L2 difference to the original's outputs at export: the limit on the device follows from it."""
    portable: bool = False
    """Not compiled yet: it is finished on its device."""
    prepared: Prepared | None = None
    """The portable content, in a bundle that was finished."""
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    files: tuple[File, ...] = ()
    stored: int | None = None
    """The number of stored samples, 0 where none was to be stored; None before schema 3, which did not count them."""
    schema: int = SCHEMA
    seal: str | None = None
    """SHA-256 over everything else in the manifest; None before schema 3."""

    def __post_init__(self) -> None:
        parts = [bundled.part for bundled in self.parts]
        check_states(parts, self.states)
        check_written(parts, self.states)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> Manifest:
        """Read a manifest of this schema, or of schema 1, whose only graph becomes the part `model`."""
        if isinstance(data, Mapping) and data.get("schema") == 1 and "parts" not in data:
            data = _from_schema_1(data)
        return super().from_dict(data, where)

    @property
    def stored_inputs(self) -> tuple[str, ...]:
        """Return the paths of the stored samples' inputs, in their order; other files in the folder are not samples."""
        paths = sorted(file.path for file in self.files)
        return tuple(path for path in paths if path.startswith(f"{SAMPLES}/") and path.endswith(INPUTS))

    @property
    def stored_samples(self) -> int:
        """The number of stored samples, each of one call or more: `samples/3-0.encoder.inputs.npz` is of sample 3."""
        return len({path.removeprefix(f"{SAMPLES}/").partition("-")[0] for path in self.stored_inputs})

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return what a caller feeds: the inputs of every part that are not states."""
        return tuple(spec for each in self.parts for spec in each.part.fed)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return what a caller gets: the outputs of every part that are not states."""
        return tuple(spec for each in self.parts for spec in each.part.given)

    @property
    def requires(self) -> tuple[Mapping[str, Any], ...]:
        """Return what each part requires of the machine that opens it."""
        return tuple(bundled.requires for bundled in self.parts)

    @property
    def digest(self) -> str:
        """Return the SHA-256 that identifies what runs: the payload and the assets, not the report."""
        return digest_of([[file.path, file.sha256] for file in self.files if file.path.startswith(RUNS)])


def write(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest into a bundle's folder with its digest, and return it."""
    counted = replace(manifest, schema=SCHEMA, stored=len(manifest.stored_inputs), seal=None)
    sealed = replace(counted, seal=seal_of(counted.to_dict()))
    (folder / MANIFEST).write_text(json.dumps(sealed.to_dict(), indent=1) + "\n", encoding="utf-8")
    return sealed


def seal_of(data: Mapping[str, Any]) -> str:
    """Return the digest over a manifest's plain values, all but the digest itself."""
    return digest_of({key: value for key, value in data.items() if key != "seal"})


def read(path: Path) -> Manifest:
    """Return the manifest of a bundle's folder. Raises UsageError where there is none, ArtifactError for one that is
    damaged, altered or of a newer schema.
    """
    file = path / MANIFEST
    if not file.is_file():
        if aside := displaced(path):
            raise ArtifactError(
                f"an export was killed while it replaced the bundle '{path}', which is now at '{aside}'.",
                hint=f"move it back: mv {shlex.quote(str(aside))} {shlex.quote(str(path))}",
            )
        problem = "is not a bundle: it has no manifest.json" if path.exists() else "does not exist"
        raise UsageError(f"'{path}' {problem}.", hint="make a bundle with `edgekit export MODEL --output DIR`")
    if not _reading.inside(path, MANIFEST):
        raise ArtifactError(f"the manifest '{file}' is a link out of the bundle.", hint=AGAIN)
    data = _reading.read_json(file, "the manifest", fault=ArtifactError, hint=AGAIN)
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ArtifactError(
            f"the bundle '{path}' has schema {str(schema)[:20]}; this edgekit reads up to {SCHEMA}.",
            hint="pip install --upgrade edgekit",
        )
    if isinstance(data, dict):
        _check_seal(file, data)
    with _reading.guard(f"the manifest '{file}'", fault=ArtifactError, hint=AGAIN):
        return Manifest.from_dict(data, str(file))


def _check_seal(file: Path, data: Mapping[str, Any]) -> None:
    """Raise ArtifactError for a manifest whose content does not have its digest, or that lacks one of its schema."""
    seal, schema = data.get("seal"), data.get("schema")
    if seal is None and schema in range(1, SEALED_SINCE):
        return
    if seal != seal_of(data):
        problem = "it has no digest" if seal is None else "its content does not have the digest that it states"
        raise ArtifactError(f"the manifest '{file}' was altered: {problem}.", hint=AGAIN)


def _from_schema_1(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of schema 1 with the keys of schema 2."""
    prepared = data.get("prepared")
    moved = {*_TENSORS, *_OF_A_PART}
    converted = {**{key: value for key, value in data.items() if key not in moved}, "schema": 2}
    if isinstance(prepared, Mapping):
        kept = {key: value for key, value in prepared.items() if key not in moved}
        converted["prepared"] = {**kept, "parts": [_part_from_schema_1(prepared)]}
    return {**converted, "parts": [_part_from_schema_1(data)]}


_TENSORS = ("inputs", "outputs")
_OF_A_PART = ("payload", "options", "requires")


def _part_from_schema_1(data: Mapping[str, Any]) -> dict[str, Any]:
    payload = data.get("payload")
    first = payload[0] if isinstance(payload, list) and payload else PAYLOAD
    part = {"name": MODEL, "file": PurePosixPath(str(first)).name}
    part |= {key: data[key] for key in _TENSORS if key in data}
    return {"part": part, **{key: data[key] for key in _OF_A_PART if key in data}}
