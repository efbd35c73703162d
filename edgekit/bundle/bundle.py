"""The bundle: a folder with the compiled model, what the device needs beside it, and the proof.

    manifest.json     what it is, what it requires, and the hash of every file
    model/            the payload, as the backend built it
    prepared/         of a bundle finished on its device: the portable payload, to finish it again from
    assets/           task.json, tokenizer.json
    samples/          a few inputs, and the original model's outputs on them
    report.json       every candidate, measured; report.md is the same for people

Opening it checks every hash and what it requires before anything is loaded; `staging.py` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgekit import _requirement, registry
from edgekit._record import Record, digest_of, digest_of_file
from edgekit.errors import ArtifactError, UsageError
from edgekit.model import Step
from edgekit.plugin import Evidence, Payload, Precision, Session
from edgekit.runner import Runner
from edgekit.spec import MODEL, TensorSpec
from edgekit.target import host
from edgekit.target.target import Target

if TYPE_CHECKING:
    import numpy as np

    from edgekit.result.report import Report
    from edgekit.tasks import Task

SCHEMA = 1
MANIFEST = "manifest.json"
REPORT = "report.json"
SAMPLES = "samples"


@dataclass(frozen=True)
class File(Record):
    """A file of the bundle: its relative path, size and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Prepared(Record):
    """What a bundle held before it was finished on its device: what it can be finished from again."""

    payload: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    options: Mapping[str, Any]
    requires: Mapping[str, Any]
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
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    payload: tuple[str, ...]
    """Paths of the payload, the one to open first."""
    options: Mapping[str, Any]
    requires: Mapping[str, Any]
    lineage: tuple[Step, ...]
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

    @property
    def digest(self) -> str:
        """Give the SHA-256 that identifies what runs: the payload and the assets, not the report."""
        return digest_of([[f.path, f.sha256] for f in self.files if f.path.startswith(("model/", "assets/"))])


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, its files checked."""

    path: Path
    manifest: Manifest

    @property
    def payload(self) -> Payload:
        m = self.manifest
        return Payload(self.path, m.payload, m.inputs, m.outputs, m.options)

    @property
    def size_mb(self) -> float:
        """Size of the payload and the assets, in MB of 10^6 bytes."""
        return sum(f.bytes for f in self.manifest.files if f.path.startswith(("model/", "assets/"))) / 1e6

    def session(self) -> Session:
        """Load the model. Raises EnvironmentFault when its backend is missing, ArtifactError for a portable bundle."""
        self.check_finished()
        return registry.backend(self.manifest.backend).open(self.payload)

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
        """Give the task: how samples become feeds and outputs an answer."""
        from edgekit import tasks

        assets = self.path / "assets"
        config = tasks.TaskConfig.load(assets) or tasks.TaskConfig(self.manifest.task or "tensor")
        return tasks.load(config, assets, self.manifest.inputs)

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


def unmet(requires: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which of a bundle's requirements this machine does not meet."""
    problems = list(lacking(requires, host.probe()))
    for package, wanted in dict(requires.get("packages", {})).items():
        problems += _package_problem(package, wanted)
    return tuple(problems)


def lacking(requires: Mapping[str, Any], machine: host.Host) -> tuple[str, ...]:
    """Say which of a bundle's requirements a machine's processor does not meet."""
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


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    if not file.is_file():
        what = "there is no bundle at" if not path.exists() else "this is not a bundle (it has no manifest.json):"
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
    problems = [f"the manifest names '{name}' but not its hash" for name in manifest.payload if name not in listed]
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
    found = _requirement.installed(package)
    if found is None:
        return [f"it needs the package {package}{wanted}, which is not installed (pip install '{package}{wanted}')"]
    if not _requirement.satisfies(found, wanted):
        return [f"it needs {package}{wanted}, {found} is installed (pip install '{package}{wanted}')"]
    return []
