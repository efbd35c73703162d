"""The bundle: a folder with the compiled model, the assets that the device needs, and the proof.

    manifest.json     what the bundle is, what it requires, and the hash of every file
    model/            the payload, as the backend built it; with several parts, a folder for each
    prepared/         in a bundle finished on its device: the portable payload, to finish it again
    assets/           task.json, tokenizer.json
    samples/          a few inputs, and the original model's outputs on them
    report.json       every candidate, measured; report.md is the same as a page

Opening it checks every hash and every requirement before anything is loaded; `staging.py` writes it.
"""

from __future__ import annotations

import json
import re
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
from edgekit.runner import Program, Runner
from edgekit.spec import MODEL, TensorSpec
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
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        check_states([bundled.part for bundled in self.parts], self.states)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> Manifest:
        """Read a manifest of this schema, or of schema 1, whose only graph becomes the part `model`."""
        if isinstance(data, Mapping) and data.get("schema") == 1 and "parts" not in data:
            data = _from_schema_1(data)
        return super().from_dict(data, where)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return what a caller feeds: the inputs of every part that are not states."""
        return tuple(spec for each in self.parts for spec in each.part.inputs if spec.name not in each.part.reads)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return what a caller gets: the outputs of every part that are not states."""
        return tuple(spec for each in self.parts for spec in each.part.outputs if spec.name not in each.part.writes)

    @property
    def requires(self) -> tuple[Mapping[str, Any], ...]:
        """Return what each part requires of the machine that opens it."""
        return tuple(bundled.requires for bundled in self.parts)

    @property
    def digest(self) -> str:
        """Return the SHA-256 that identifies what runs: the payload and the assets, not the report."""
        return digest_of([[file.path, file.sha256] for file in self.files if file.path.startswith(_RUNS)])


_RUNS = (f"{PAYLOAD}/", "assets/")
"""The folders of the files that run: the payload and the assets."""

_CALL = re.compile(rf"{SAMPLES}/(\d+)-(\d+)(?:\.(.+))?\.inputs\.npz$")
"""The feeds of a call: the sample, its place in the trace, and its part where that is not `model`."""


@dataclass(frozen=True)
class StoredCall:
    """A call of the original that is stored in the bundle, and its outputs."""

    part: str
    feeds: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle."""

    path: Path
    manifest: Manifest

    @property
    def payload(self) -> Payload:
        """Return the payload to open. Raises ArtifactError for a bundle of several parts."""
        only_part(self.path, self.manifest.parts)
        return self.program.payloads[0]

    @property
    def program(self) -> Program:
        """Return the payload of every part, and the states."""
        parts = self.manifest.parts
        payloads = (Payload(self.path, each.payload, each.part, each.options) for each in parts)
        return Program(tuple(payloads), self.manifest.states)

    @property
    def size_mb(self) -> float:
        """The size of the payload and the assets, in MB of 10^6 bytes; equal files count once."""
        files = (file for file in self.manifest.files if file.path.startswith(_RUNS))
        return sum({file.sha256: file.bytes for file in files}.values()) / 1e6

    def session(self) -> BundleSession:
        """Load the model and return its session; close it, or use it as a context manager.

        Raises EnvironmentFault when its backend is missing, ArtifactError for a portable bundle.
        """
        self.check_finished()
        return BundleSession(registry.backend(self.manifest.backend).open(self.payload))

    def runner(self) -> Runner:
        """Load every part and return their runner. Raises EnvironmentFault or ArtifactError, as `session`."""
        self.check_finished()
        return self.program.open(registry.backend(self.manifest.backend))

    def check_finished(self) -> None:
        """Raise ArtifactError for a portable bundle, in which nothing can run yet."""
        if self.manifest.portable:
            raise ArtifactError(
                f"the bundle '{self.path}' is portable: its engine is built on the device.",
                hint=f"finish it there with `edgekit finish {self.path}`, or from here with `edgekit deploy`",
            )

    def task(self) -> Task:
        """Return the task, which converts samples to feeds and outputs to an answer."""
        from edgekit import tasks

        assets = self.path / "assets"
        config = tasks.TaskConfig.load(assets) or tasks.TaskConfig(self.manifest.task or "tensor")
        return tasks.load(config, assets, self.program.inputs)

    def report(self) -> Report:
        from edgekit.result.report import Report

        return Report.load(self.path / REPORT)

    def samples(self) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Read the stored samples: feeds, and the original model's outputs on them, of every call in order."""
        return [(call.feeds, call.outputs) for trace in self.traces() for call in trace]

    def traces(self) -> list[list[StoredCall]]:
        """Read the calls of each stored sample in order."""
        import numpy as np

        def read(name: str) -> dict[str, np.ndarray]:
            with np.load(self.path / name, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}

        listed = {file.path for file in self.manifest.files}  # other files in the folder are not part of the bundle
        calls = sorted(
            (int(match[1]), int(match[2]), match[3] or MODEL, match[0]) for match in map(_CALL.match, listed) if match
        )
        traces: dict[int, list[StoredCall]] = {}
        for sample, _, part, name in calls:
            if (outputs := name.replace(".inputs.npz", ".outputs.npz")) in listed:
                traces.setdefault(sample, []).append(StoredCall(part, read(name), read(outputs)))
        return list(traces.values())


def open(path: str | Path, *, check: bool = True) -> Bundle:
    """Open a bundle; `check` hashes every file and compares the requirements with this machine.

    Raises ArtifactError for a bundle that is incomplete, altered, of a newer schema or for another machine,
    EnvironmentFault when its backend is not installed.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    if check:
        check_files(path, manifest)
        registry.distribution("backend", manifest.backend)  # raises with the command that installs it
        problems = unmet_requirements(manifest.requires)
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
    """Return the only part of a bundle. Raises ArtifactError for several."""
    if len(parts) != 1:
        names = ", ".join(bundled.part.name for bundled in parts)
        raise ArtifactError(
            f"the bundle '{path}' has {len(parts)} parts{f' ({names})' if names else ''}, not one.",
            hint="run it with `Bundle.runner()`, or with `edgekit run`",
        )
    return parts[0]


def unmet_requirements(requirements: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the requirements of a bundle's parts that this machine does not meet."""
    requirements = tuple(requirements)
    problems = list(unmet_by_processor(requirements, host.probe()))
    for requires in requirements:
        for package, versions in dict(requires.get("packages", {})).items():
            problems += _package_problem(package, versions)
    return tuple(dict.fromkeys(problems))


def unmet_by_processor(requirements: Iterable[Mapping[str, Any]], machine: host.Host) -> tuple[str, ...]:
    """Return the requirements of a bundle's parts that a machine's processor does not meet."""
    return tuple(dict.fromkeys(problem for each in requirements for problem in _processor_problems(each, machine)))


def _processor_problems(requires: Mapping[str, Any], machine: host.Host) -> tuple[str, ...]:
    if "arch" in requires and requires["arch"] != machine.arch:
        return (f"it needs {requires['arch']}; this machine is {machine.arch}",)
    problems = []
    missing = sorted(set(requires.get("isa", ())) - set(machine.isa))
    if missing:
        problems.append(f"this processor lacks {', '.join(missing)}")
    any_of = requires.get("isa_any", ())
    if any_of and not set(any_of) & set(machine.isa):
        problems.append(f"this processor has none of {', '.join(any_of)}")
    return tuple(problems)


def _from_schema_1(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of schema 1 with the keys of schema 2."""
    prepared = data.get("prepared")
    moved = {*_TENSORS, *_OF_A_PART}
    converted = {**{key: value for key, value in data.items() if key not in moved}, "schema": SCHEMA}
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


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    if not file.is_file():
        problem = "does not exist" if not path.exists() else "is not a bundle: it has no manifest.json"
        raise UsageError(f"'{path}' {problem}.", hint="make a bundle with `edgekit export MODEL --output DIR`")
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"the manifest '{file}' cannot be read: {error}.", hint="copy or export the bundle again"
        ) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ArtifactError(
            f"the bundle '{path}' has schema {schema}; this edgekit reads up to {SCHEMA}.",
            hint="pip install --upgrade edgekit",
        )
    try:
        return Manifest.from_dict(data, str(file))
    except UsageError as error:
        raise ArtifactError(
            f"the manifest is damaged. {error.message}", hint="copy or export the bundle again"
        ) from error


def check_files(path: Path, manifest: Manifest) -> None:
    """Hash every file. Raises ArtifactError with each file that is missing, altered or outside the bundle."""
    listed = {file.path for file in manifest.files}
    payload = [name for bundled in manifest.parts for name in bundled.payload]
    problems = [f"the manifest lists '{name}' without its hash" for name in payload if name not in listed]
    root = path.resolve()
    for file in manifest.files:
        place = path / file.path
        if (
            PurePosixPath(file.path).is_absolute()
            or ".." in PurePosixPath(file.path).parts
            or root not in place.resolve().parents
        ):
            problems.append(f"'{file.path}' is outside the bundle")
        elif not place.is_file():
            problems.append(f"'{file.path}' is missing")
        elif place.stat().st_size != file.bytes:
            problems.append(f"'{file.path}' has {place.stat().st_size} bytes; in the manifest it has {file.bytes}")
        elif digest_of_file(place) != file.sha256:
            problems.append(f"'{file.path}' was altered: its SHA-256 is not the one in the manifest")
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ArtifactError(
            f"the bundle '{path}' failed its integrity check:{lines}", hint="copy or export the bundle again"
        )


def _package_problem(package: str, versions: str) -> list[str]:
    requirement = f"{package}{versions}"
    installed = _requirement.installed(package)
    if installed is None:
        return [f"it needs the package {requirement}, which is not installed (pip install '{requirement}')"]
    if not _requirement.satisfies(installed, versions):
        return [f"it needs {requirement}; {installed} is installed (pip install '{requirement}')"]
    return []
