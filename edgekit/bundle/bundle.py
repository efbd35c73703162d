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

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import _reading, registry
from edgekit.bundle import integrity, manifest
from edgekit.bundle.integrity import check_files
from edgekit.bundle.manifest import AGAIN, MANIFEST, PAYLOAD, RUNS, SAMPLES, BundledPart, File, Manifest, Prepared
from edgekit.bundle.requirements import unmet, unmet_by_processor, unmet_requirements
from edgekit.bundle.session import BundleSession
from edgekit.errors import ArtifactError, UsageError
from edgekit.plugin import Payload
from edgekit.runner import Program, Runner
from edgekit.spec import MODEL

if TYPE_CHECKING:
    import numpy as np

    from edgekit.bundle.predictor import Predictor
    from edgekit.result.report import Report
    from edgekit.tasks import Task

__all__ = [
    "MANIFEST",
    "PAYLOAD",
    "REPORT",
    "SAMPLES",
    "Bundle",
    "BundledPart",
    "File",
    "Manifest",
    "Prepared",
    "check_files",
    "only_part",
    "open",
    "report_of",
    "unmet_by_processor",
    "unmet_requirements",
]

REPORT = "report.json"

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
        if not parts:
            raise ArtifactError(f"the bundle '{self.path}' has no part, so nothing in it runs.", hint=AGAIN)
        payloads = (Payload(self.path, each.payload, each.part, each.options) for each in parts)
        return Program(tuple(payloads), self.manifest.states)

    @property
    def size_mb(self) -> float:
        """The size of the payload and the assets, in MB of 10^6 bytes; equal files count once."""
        files = (file for file in self.manifest.files if file.path.startswith(RUNS))
        return sum({file.sha256: file.bytes for file in files}.values()) / 1e6

    @property
    def part_sizes_mb(self) -> dict[str, float]:
        """The size of the payload of each part, by its name; empty for one part."""
        sizes, parts = {file.path: file.bytes for file in self.manifest.files}, self.manifest.parts
        if len(parts) == 1:
            return {}
        return {each.part.name: sum(sizes.get(path, 0) for path in each.payload) / 1e6 for each in parts}

    def session(self) -> BundleSession:
        """Load the model and return its session; close it, or use it as a context manager.

        Raises EnvironmentFault when its backend is missing, ArtifactError for a portable bundle.
        """
        self.check_finished()
        with self._opening():
            return BundleSession(registry.backend(self.manifest.backend).open(self.payload))

    def runner(self) -> Runner:
        """Load every part and return their runner. Raises EnvironmentFault or ArtifactError, as `session`."""
        self.check_finished()
        with self._opening():
            return self.program.open(registry.backend(self.manifest.backend))

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Turn UsageError, of options that the backend refuses, into ArtifactError: they are the bundle's."""
        try:
            yield
        except UsageError as error:
            raise ArtifactError(f"the bundle '{self.path}' cannot be opened: {error.message}", hint=AGAIN) from error

    def check_finished(self) -> None:
        """Raise ArtifactError for a portable bundle, in which nothing can run yet."""
        if self.manifest.portable:
            raise ArtifactError(
                f"the bundle '{self.path}' is portable: its engine is built on the device.",
                hint=f"finish it there with `edgekit finish {self.path}`, or from here with `edgekit deploy`",
            )

    def predict(self, given: Any, **settings: Any) -> Any:
        """Return the answer for one input, or those for a list of them; the model is loaded once for all calls.

        Inputs, settings and errors are those of `Predictor.predict`.
        """
        return self._predictor.predict(given, **settings)

    def generate(self, text: Any, **settings: Any) -> Iterator[str]:
        """Yield the generated text piece by piece, as `Predictor.generate`."""
        return self._predictor.generate(text, **settings)

    def predictor(self) -> Predictor:
        """Load the model and return what answers; close it, or use it in a `with` block."""
        from edgekit.bundle.predictor import Predictor
        from edgekit.tasks import user_input

        task = user_input.by_position(self.task(), self.path / "assets", self.program.inputs)
        return Predictor(task, self.runner())

    @functools.cached_property
    def _predictor(self) -> Predictor:
        return self.predictor()

    def task(self) -> Task:
        """Return the task, which converts samples to feeds and outputs to an answer."""
        from edgekit import tasks

        assets = self.path / "assets"
        config = tasks.TaskConfig.load(assets) or tasks.TaskConfig(self.manifest.task or "tensor")
        return tasks.load(config, assets, self.program.inputs)

    def report(self) -> Report:
        """Return the report in the bundle, after its hash, and those of the latencies that it names, were compared with
        the manifest's.
        """
        from edgekit.result.report import Report

        integrity.check_file(self.path, self.manifest, REPORT)
        with _reading.guard(f"the report of '{self.path}'", fault=ArtifactError, hint=AGAIN):
            report = Report.load(self.path / REPORT)
        for candidate in report.candidates:
            if candidate.measurement and candidate.measurement.raw_file:
                integrity.check_file(self.path, self.manifest, candidate.measurement.raw_file)
        return report

    def samples(self) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Read the stored samples: feeds, and the original model's outputs on them, of every call in order. Raises what
        `traces` raises.
        """
        return [(call.feeds, call.outputs) for trace in self.traces() for call in trace]

    def traces(self) -> list[list[StoredCall]]:
        """Read the calls of each stored sample in order. Raises ArtifactError for a damaged one, or one without
        outputs.
        """

        def arrays(name: str) -> dict[str, np.ndarray]:
            integrity.check_file(self.path, self.manifest, name)
            read = _reading.read_arrays(self.path / name, "the sample", fault=ArtifactError, hint=AGAIN)
            if odd := [key for key, array in read.items() if array.dtype.kind in "cmM"]:
                raise ArtifactError(f"the sample '{name}' holds no numbers: {read[odd[0]].dtype}.", hint=AGAIN)
            return read

        traces: dict[str, list[tuple[int, StoredCall]]] = {}
        for name in self.manifest.stored_inputs:
            match = _CALL.match(name)
            sample, place, part = (match[1], int(match[2]), match[3]) if match else (name, 0, None)
            call = StoredCall(part or MODEL, arrays(name), arrays(integrity.outputs_of(name)))
            traces.setdefault(sample, []).append((place, call))
        return [[call for _, call in sorted(trace, key=lambda item: item[0])] for trace in traces.values()]


def open(path: str | Path, *, check: bool = True) -> Bundle:
    """Open a bundle; `check` hashes every file and compares the requirements with this machine.

    Raises ArtifactError for a bundle that is incomplete, altered, of a newer schema or for another machine,
    EnvironmentFault when its backend is not installed.
    """
    path = Path(path)
    content = manifest.read(path)
    if check:
        check_files(path, content)
        registry.distribution("backend", content.backend)  # raises with the command that installs it
        problems = unmet(content)
        if problems:
            lines = "".join(f"\n  - {problem}" for problem in problems)
            raise ArtifactError(
                f"the bundle '{path}' was made for '{content.target.name}' and does not run here:{lines}",
                hint=f"finish it on its device with `edgekit finish {path}`, or from here with `edgekit deploy`"
                if content.portable
                else "run it on its device, or export again with `--target host` on this machine",
            )
    return Bundle(path, content)


def report_of(path: Path) -> Report:
    """Return the report of a file, or of a bundle's folder as `Bundle.report` does.

    Raises UsageError for what is not a report, ArtifactError for one that was altered in its bundle.
    """
    from edgekit.result.report import Report

    folder = path if path.is_dir() else path.parent
    in_bundle = (folder / MANIFEST).is_file() and (path.is_dir() or path.name == REPORT)
    if not in_bundle:
        return Report.load(path)
    return open(folder, check=False).report()


def only_part(path: Path, parts: Sequence[BundledPart]) -> BundledPart:
    """Return the only part of a bundle. Raises ArtifactError for several."""
    if len(parts) != 1:
        names = ", ".join(bundled.part.name for bundled in parts)
        raise ArtifactError(
            f"the bundle '{path}' has {len(parts)} parts{f' ({names})' if names else ''}, not one.",
            hint="run it with `Bundle.runner()`, or with `edgekit run`",
        )
    return parts[0]
