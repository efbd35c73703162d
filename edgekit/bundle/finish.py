"""Finish a portable bundle on its device: compile it there, verify the outputs, and replace the bundle in one step.

The prepared payload stays in the bundle, so that it can be finished again after an update of the device's software.
"""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit import cache, registry
from edgekit._record import digest_of
from edgekit.bench.process import Worker
from edgekit.bundle import staging, verify
from edgekit.bundle.bundle import REPORT, Bundle
from edgekit.bundle.bundle import open as open_bundle
from edgekit.bundle.integrity import PREPARED, check_files
from edgekit.bundle.manifest import PAYLOAD, Manifest, Prepared
from edgekit.bundle.requirements import unmet_requirements
from edgekit.bundle.stored_samples import on_stored_samples
from edgekit.errors import AccuracyFailure, ArtifactError, BuildError, EnvironmentFault, UsageError
from edgekit.model import Part, Step
from edgekit.plugin import Built, Finishable, Payload
from edgekit.progress import Progress, Silent
from edgekit.result.report import Report
from edgekit.target import host

STEP = "finish"
"""The name of the step in the lineage."""

NOTE = "finished on"
"""The beginning of the note in the report; finishing again replaces that note."""


def finish(path: str | Path, *, progress: Progress | None = None) -> Report:
    """Compile a portable bundle for this machine, its device, and return the report of its verification.

    The bundle is replaced in one step, or does not change. A finished bundle is finished again from its prepared
    payload. Raises ArtifactError for another device than the bundle's, and what `Finishable.finish` raises;
    AccuracyFailure, with the report in its context, when the outputs on the stored samples deviate too much.
    """
    progress = progress or Silent()
    bundle = open_bundle(path, check=False)
    check_files(bundle.path, bundle.manifest)
    prepared = _prepared(bundle)
    backend = _finishable(bundle)
    _check_device(bundle, prepared)
    if not bundle.samples():
        raise ArtifactError(
            f"the bundle '{path}' has no stored samples, so its outputs could not be verified here.",
            hint="export it again with --samples synthetic, or a number",
        )
    name = bundle.manifest.backend
    key = digest_of([STEP, prepared.digest, registry.distribution("backend", name)])
    started = time.perf_counter()
    with cache.partial(key, STEP) as work:
        compiled = []
        payloads = _payloads(bundle, prepared)
        for payload in payloads:
            part = payload.part
            title = f"finishing with {name}" + (f" ({part.name})" if len(payloads) > 1 else "")
            folder = work / part.name if len(payloads) > 1 else work
            folder.mkdir(exist_ok=True)
            with progress.step(title):
                built = backend.finish(payload, bundle.manifest.target, folder)
            _check_built(built, name, folder)
            compiled.append((part, built, folder))
        with staging.folder(bundle.path, force=True) as stage:
            manifest = _assemble(stage, bundle, prepared, compiled, time.perf_counter() - started)
            report = _verify(stage, bundle, manifest, progress)
            _seal(stage, bundle, replace(manifest, effective=report.candidates[0].effective), report.notes[-1])
        shutil.rmtree(work, ignore_errors=True)
    return report


def _prepared(bundle: Bundle) -> Prepared:
    manifest = bundle.manifest
    if manifest.prepared is not None:
        return manifest.prepared
    if not manifest.portable:
        raise UsageError(
            f"the bundle '{bundle.path}' is not portable: it is already compiled.",
            hint=f"verify it here with `edgekit verify {bundle.path}`",
        )
    parts = (
        replace(each, payload=tuple(f"{PREPARED}/{name.removeprefix(f'{PAYLOAD}/')}" for name in each.payload))
        for each in manifest.parts
    )
    return Prepared(tuple(parts), manifest.digest)


def _payloads(bundle: Bundle, prepared: Prepared) -> list[Payload]:
    """Return the prepared payload of each part, from the folder that has it now."""
    folder = bundle.path / (PAYLOAD if bundle.manifest.portable else PREPARED)
    return [
        Payload(folder, tuple(name.removeprefix(f"{PREPARED}/") for name in each.payload), each.part, each.options)
        for each in prepared.parts
    ]


def _finishable(bundle: Bundle) -> Finishable:
    name = bundle.manifest.backend
    backend = registry.backend(name)
    if not isinstance(backend, Finishable):
        owner = registry.distribution("backend", name)
        raise EnvironmentFault(
            f"the backend '{name}' ({owner}) cannot finish bundles on the device; the one that built this bundle can.",
            hint=f"pip install --upgrade {owner.split()[0]}",
        )
    return backend


def _check_device(bundle: Bundle, prepared: Prepared) -> None:
    """Raise ArtifactError with every reason where this machine is not the bundle's device."""
    target = bundle.manifest.target
    mismatches = target.mismatches(host.probe())
    requires = [
        {name: fact for name, fact in part.requires.items() if not (name == "arch" and mismatches)}
        for part in prepared.parts
    ]
    problems = (*mismatches, *unmet_requirements(requires))
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in dict.fromkeys(problems))
        raise ArtifactError(
            f"the bundle '{bundle.path}' must be finished on '{target.name}'; this machine is another one:{lines}",
            hint="copy it to its device and finish it there, or do both with `edgekit deploy`",
        )


def _check_built(built: Built, backend: str, work: Path) -> None:
    missing = [name for name in built.files if not (work / name).is_file()]
    if built.portable or missing or not built.files:
        fault = f"did not write {', '.join(missing)}" if missing else "did not compile anything"
        raise BuildError(
            f"the backend '{backend}' {fault}.",
            hint=f"report it to the authors of {registry.distribution('backend', backend)}",
        )


def _assemble(
    stage: Path, bundle: Bundle, prepared: Prepared, compiled: Sequence[tuple[Part, Built, Path]], seconds: float
) -> Manifest:
    """Fill `stage` with the finished bundle, all but its report, and return its manifest."""
    old = bundle.manifest
    for file in old.files:
        payload = file.path.startswith(f"{PAYLOAD}/")
        if _is_report(file.path) or (payload and old.prepared):
            continue
        moved = payload and old.portable
        path = f"{PREPARED}/{file.path.removeprefix(f'{PAYLOAD}/')}" if moved else file.path
        staging.link(bundle.path / file.path, stage / path)
    filled = staging.fill(stage, compiled, old.backend)
    sealed = staging.seal(stage, replace(old, **filled, effective=None, prepared=prepared, files=()))
    here = host.probe()
    notes = tuple(dict.fromkeys(note for _, built, _ in compiled for note in built.notes))
    config = {"target": old.target.name, "board": here.board or here.cpu or here.arch}
    versions = dict(registry.backend(old.backend).probe().versions)
    step = Step(STEP, config, versions, prepared.digest, sealed.digest, round(seconds, 3), notes)
    return replace(sealed, lineage=(*(earlier for earlier in old.lineage if earlier.name != STEP), step))


def _is_report(name: str) -> bool:
    return name in (REPORT, "report.md")


def _verify(stage: Path, bundle: Bundle, manifest: Manifest, progress: Progress) -> Report:
    """Verify the compiled payload on the stored samples, in a process of its own: a new engine may crash."""
    with Worker(manifest.backend) as worker:
        worker.load(Bundle(stage, manifest).program)
        quality = on_stored_samples(bundle, worker.replay, progress)
        precision = worker.precision()
    report = verify.verification_report(Bundle(bundle.path, manifest), quality, precision)
    report = replace(report, notes=(*report.notes, *manifest.lineage[-1].notes, _note(manifest.lineage[-1])))
    if not quality.ok:
        raise AccuracyFailure(
            f"the outputs of the model compiled on this machine deviate too much: {'; '.join(report.failures)}. "
            f"The bundle '{bundle.path}' was not changed.",
            hint="export it again with another recipe; `edgekit doctor --json` has what to report about this machine",
            report=report,
        )
    return report


def _note(step: Step) -> str:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    tools = ", ".join(f"{name} {version}" for name, version in step.tools.items())
    return f"{NOTE} {step.config['board']} in {step.seconds:.1f} s, {now}" + (f", by {tools}" if tools else "")


def _seal(stage: Path, bundle: Bundle, manifest: Manifest, note: str) -> None:
    """Write report and manifest last, as the report has the digest of what runs."""
    from edgekit.report import markdown

    sealed = staging.seal(stage, manifest)
    old = bundle.report()
    finished = Bundle(stage, sealed)
    candidates = tuple(
        replace(
            candidate,
            effective=manifest.effective,
            size_mb=finished.size_mb,
            part_sizes_mb=finished.part_sizes_mb,
        )
        if candidate.status == "shipped"
        else candidate
        for candidate in old.candidates
    )
    notes = (*(line for line in old.notes if not line.startswith(NOTE)), note)
    final = replace(
        old,
        candidates=candidates,
        artifact=sealed.digest,
        evidence=manifest.evidence,
        lineage=manifest.lineage,
        notes=notes,
    )
    final.save(stage / REPORT)
    (stage / "report.md").write_text(markdown.render(final))
    staging.seal(stage, sealed)
