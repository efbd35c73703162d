"""The bundle: a folder with the compiled model, what the device needs beside it, and the proof.

    manifest.json     what it is, what it requires, and the hash of every file
    model/            the payload, as the backend built it; of several parts, a folder each
    prepared/         of a bundle finished on its device: the portable payload, to finish it again from
    assets/           task.json, tokenizer.json
    samples/          a few inputs, and the original model's outputs on them
    report.json       every candidate, measured; report.md is the same for people

Opening it checks every hash and what it requires before anything is loaded; `staging.py` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgekit import _requirement, registry
from edgekit._record import Record, digest_of, digest_of_file
from edgekit.bundle.session import BundleSession
from edgekit.errors import ArtifactError, UsageError
from edgekit.model import Part, State, Step, check_states
from edgekit.plugin import Evidence, Payload, Precision
from edgekit.runner import Runner
from edgekit.spec import MODEL
from edgekit.target import host
from edgekit.target.target import Target

if TYPE_CHECKING:
    import numpy as np

    from edgekit.result.report import Report
    from edgekit.tasks import Task

SCHEMA = 2
MANIFEST = "manifest.json"
PAYLOAD = "model"
REPORT = "report.json"
SAMPLES = "samples"


@dataclass(frozen=True)
class File(Record):
    """A file of the bundle: its relative path, size and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BundledPart(Record):
    """One part of the model as the bundle holds it."""

    part: Part
    payload: tuple[str, ...]
    """Paths of its files, the one to open first."""
    options: Mapping[str, Any] = field(default_factory=dict)
    requires: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared(Record):
    """What a bundle held before it was finished on its device: what it can be finished from again."""

    parts: tuple[BundledPart, ...]
    digest: str
    """The portable bundle's digest."""


@dataclass(frozen=True)
class Manifest(Record):
    """What a bundle says of itself."""

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
    """What the parts pass on from call to call."""
    trusted: tuple[str, ...] = ()
    """What the user allowed that is not safe by itself: pickles, remote code."""
    deviation: float = 0.0
    """Relative L2 difference to the original that the artifact had when it was made: what the device is held
    against.
    """
    portable: bool = False
    """Not compiled yet: to be finished on its device."""
    prepared: Prepared | None = None
    """Of a bundle that was finished."""
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    files: tuple[File, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        check_states([each.part for each in self.parts], self.states)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> Manifest:
        """Read a manifest of this schema, or of schema 1, whose one graph is read as the part `model`."""
        if isinstance(data, Mapping) and data.get("schema") == 1 and "parts" not in data:
            data = _of_schema_1(data)
        return super().from_dict(data, where)

    @property
    def requires(self) -> tuple[Mapping[str, Any], ...]:
        """Return what each part requires of the machine that opens it."""
        return tuple(each.requires for each in self.parts)

    @property
    def digest(self) -> str:
        """Return the SHA-256 that identifies what runs: the payload and the assets, not the report."""
        return digest_of([[f.path, f.sha256] for f in self.files if f.path.startswith(("model/", "assets/"))])


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, its files checked."""

    path: Path
    manifest: Manifest

    @property
    def payload(self) -> Payload:
        """Return what is opened. Raises ArtifactError for a bundle of several parts."""
        only = only_part(self.path, self.manifest.parts)
        return Payload(self.path, only.payload, only.part, only.options)

    @property
    def size_mb(self) -> float:
        """Size of the payload and the assets, in MB of 10^6 bytes; equal files count once."""
        files = (f for f in self.manifest.files if f.path.startswith((f"{PAYLOAD}/", "assets/")))
        return sum({f.sha256: f.bytes for f in files}.values()) / 1e6

    def session(self) -> BundleSession:
        """Load the model; close it, or use it as a context manager.

        Raises EnvironmentFault when its backend is missing, ArtifactError for a portable bundle.
        """
        self.check_finished()
        return BundleSession(registry.backend(self.manifest.backend).open(self.payload))

    def runner(self) -> Runner:
        """Load every part and return what runs them. Raises what `session` raises."""
        return Runner({MODEL: self.session()})

    def check_finished(self) -> None:
        """Raise ArtifactError for a portable bundle: there is nothing in it that runs."""
        if self.manifest.portable:
            raise ArtifactError(
                f"the bundle '{self.path}' is portable: its engine is built on the device.",
                hint=f"finish it there with `edgekit finish {self.path}`, or from here with `edgekit deploy`",
            )

    def task(self) -> Task:
        """Return the task: how samples become feeds and outputs an answer."""
        from edgekit import tasks

        assets = self.path / "assets"
        config = tasks.TaskConfig.load(assets) or tasks.TaskConfig(self.manifest.task or "tensor")
        return tasks.load(config, assets, self.payload.part.inputs)

    def report(self) -> Report:
        from edgekit.result.report import Report

        return Report.load(self.path / REPORT)

    def samples(self) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Read the stored samples: feeds, and the original model's outputs on them."""
        import numpy as np

        pairs = []
        listed = {file.path for file in self.manifest.files}  # what else lies there was not made with the bundle
        for name in sorted(name for name in listed if name.startswith(f"{SAMPLES}/") and name.endswith(".inputs.npz")):
            other = name.replace(".inputs.", ".outputs.")
            if other not in listed:
                continue
            feeds, outputs = self.path / name, self.path / other
            with np.load(feeds, allow_pickle=False) as i, np.load(outputs, allow_pickle=False) as o:
                pairs.append(({k: i[k] for k in i.files}, {k: o[k] for k in o.files}))
        return pairs


def open(path: str | Path, *, check: bool = True) -> Bundle:
    """Open a bundle; `check` hashes every file and holds `requires` against this machine.

    Raises ArtifactError for a bundle that is incomplete, altered, from a newer schema or for another machine,
    EnvironmentFault when its backend is missing.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    if check:
        check_files(path, manifest)
        registry.distribution("backend", manifest.backend)  # raises with the line that installs it
        problems = unmet(manifest.requires)
        if problems:
            lines = "".join(f"\n  - {problem}" for problem in problems)
            raise ArtifactError(
                f"the bundle '{path}' was made for '{manifest.target.name}' and does not run here:{lines}",
                hint=f"finish it on its device with `edgekit finish {path}`, or from here with `edgekit deploy`"
                if manifest.portable
                else "run it on its device, or export again with `--target host` on this machine",
            )
    return Bundle(path, manifest)


def only_part(path: Path, parts: Sequence[BundledPart]) -> BundledPart:
    """Return the one part of a bundle. Raises ArtifactError for several."""
    if len(parts) != 1:
        names = ", ".join(each.part.name for each in parts)
        raise ArtifactError(
            f"the bundle '{path}' has {len(parts)} parts{f' ({names})' if names else ''}, "
            "this edgekit runs bundles of one part.",
            hint="pip install --upgrade edgekit",
        )
    return parts[0]


def unmet(requires: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return which of the requirements of a bundle's parts this machine does not meet."""
    requires = tuple(requires)
    problems = list(lacking(requires, host.probe()))
    for each in requires:
        for package, wanted in dict(each.get("packages", {})).items():
            problems += _package_problem(package, wanted)
    return tuple(dict.fromkeys(problems))


def lacking(requires: Iterable[Mapping[str, Any]], machine: host.Host) -> tuple[str, ...]:
    """Return which of the requirements of a bundle's parts a machine's processor does not meet."""
    return tuple(dict.fromkeys(problem for each in requires for problem in _lacking(each, machine)))


def _lacking(requires: Mapping[str, Any], machine: host.Host) -> tuple[str, ...]:
    if "arch" in requires and requires["arch"] != machine.arch:
        return (f"it needs {requires['arch']}, this machine is {machine.arch}",)
    problems = []
    missing = sorted(set(requires.get("isa", ())) - set(machine.isa))
    if missing:
        problems.append(f"this processor lacks {', '.join(missing)}")
    any_of = requires.get("isa_any", ())
    if any_of and not set(any_of) & set(machine.isa):
        problems.append(f"this processor has none of {', '.join(any_of)}")
    return tuple(problems)


def _of_schema_1(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of schema 2 for a manifest of schema 1."""
    prepared = data.get("prepared")
    moved = {*_TENSORS, *_OF_A_PART}
    changed = {**{key: value for key, value in data.items() if key not in moved}, "schema": SCHEMA}
    if isinstance(prepared, Mapping):
        kept = {key: value for key, value in prepared.items() if key not in moved}
        changed["prepared"] = {**kept, "parts": [_part_of_schema_1(prepared)]}
    return {**changed, "parts": [_part_of_schema_1(data)]}


_TENSORS = ("inputs", "outputs")
_OF_A_PART = ("payload", "options", "requires")


def _part_of_schema_1(data: Mapping[str, Any]) -> dict[str, Any]:
    payload = data.get("payload")
    first = payload[0] if isinstance(payload, list) and payload else PAYLOAD
    part = {"name": MODEL, "file": PurePosixPath(str(first)).name}
    part |= {key: data[key] for key in _TENSORS if key in data}
    return {"part": part, **{key: data[key] for key in _OF_A_PART if key in data}}


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    if not file.is_file():
        what = "no bundle is at" if not path.exists() else "this is not a bundle (it has no manifest.json):"
        raise UsageError(f"{what} '{path}'.", hint="make one with `edgekit export MODEL --output DIR`")
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"the manifest '{file}' cannot be read: {error}.", hint="copy or export the bundle again"
        ) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ArtifactError(
            f"the bundle '{path}' has schema {schema}, this edgekit reads up to {SCHEMA}.",
            hint="pip install --upgrade edgekit",
        )
    try:
        return Manifest.from_dict(data, str(file))
    except UsageError as error:
        raise ArtifactError(
            f"the manifest is damaged. {error.message}", hint="copy or export the bundle again"
        ) from error


def check_files(path: Path, manifest: Manifest) -> None:
    """Hash every file. Raises ArtifactError, naming each that is missing, altered or outside the bundle."""
    listed = {file.path for file in manifest.files}
    payload = [name for each in manifest.parts for name in each.payload]
    problems = [f"the manifest names '{name}' but not its hash" for name in payload if name not in listed]
    root = path.resolve()
    for file in manifest.files:
        where = path / file.path
        if (
            PurePosixPath(file.path).is_absolute()
            or ".." in PurePosixPath(file.path).parts
            or root not in where.resolve().parents
        ):
            problems.append(f"'{file.path}' lies outside the bundle")
        elif not where.is_file():
            problems.append(f"'{file.path}' is missing")
        elif where.stat().st_size != file.bytes:
            problems.append(f"'{file.path}' has {where.stat().st_size} bytes, the manifest says {file.bytes}")
        elif digest_of_file(where) != file.sha256:
            problems.append(f"'{file.path}' was altered: its SHA-256 is not the manifest's")
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ArtifactError(
            f"the bundle '{path}' is not as it was made:{lines}", hint="copy or export the bundle again"
        )


def _package_problem(package: str, wanted: str) -> list[str]:
    version = _requirement.installed(package)
    if version is None:
        return [f"it needs the package {package}{wanted}, which is not installed (pip install '{package}{wanted}')"]
    if not _requirement.satisfies(version, wanted):
        return [f"it needs {package}{wanted}, {version} is installed (pip install '{package}{wanted}')"]
    return []
