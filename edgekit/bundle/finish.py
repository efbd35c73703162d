"""Finish a portable bundle on its device: compile there, prove the outputs, and put the whole in its place.

What was prepared stays in the bundle, so that it can be finished again after an update of the device's software.
"""

from __future__ import annotations

import datetime
import shutil
import time
from dataclasses import replace
from pathlib import Path

from edgekit import cache, registry
from edgekit._record import digest_of
from edgekit.bench.process import Worker
from edgekit.bundle import bundle as artifact
from edgekit.bundle import staging, verify
from edgekit.bundle.bundle import PAYLOAD, Bundle, Manifest, Prepared, only_part
from edgekit.errors import AccuracyFailure, ArtifactError, BuildError, EnvironmentFault, UsageError
from edgekit.model import Step
from edgekit.plugin import Built, Finishable, Payload
from edgekit.progress import Progress, Silent
from edgekit.result.report import Report
from edgekit.target import host

STEP = "finish"
"""The name of the step in the lineage."""

PREPARED = "prepared"
"""The folder of a finished bundle that keeps what it was finished from."""

SAYS = "finished on"
"""How the note in the report begins; finishing again replaces it."""


def finish(path: str | Path, *, progress: Progress | None = None) -> Report:
    """Compile a portable bundle for this machine, its device, and return the proof against the stored samples.

    The bundle changes in one move, or not at all. A bundle that was finished is finished anew, from what was prepared.
    Raises ArtifactError for another device than the bundle's, and what `Finishable.finish` raises; AccuracyFailure,
    with the report in its context, when what was compiled here does not give what the original gives.
    """
    progress = progress or Silent()
    bundle = artifact.open(path, check=False)
    artifact.check_files(bundle.path, bundle.manifest)
    prepared = _prepared(bundle)
    backend = _finishable(bundle)
    _check_device(bundle, prepared)
    if not bundle.samples():
        raise ArtifactError(
            f"the bundle '{path}' has no stored samples: nothing could prove what is compiled here.",
            hint="export it again, with --data",
        )
    name = bundle.manifest.backend
    key = digest_of([STEP, prepared.digest, registry.distribution("backend", name)])
    began = time.perf_counter()
    with cache.partial(key, STEP) as work:
        with progress.step(f"finishing with {name}"):
            built = backend.finish(_payload(bundle, prepared), bundle.manifest.target, work)
        _check_built(built, name, work)
        with staging.folder(bundle.path, force=True) as stage:
            manifest = _assemble(stage, bundle, prepared, built, work, time.perf_counter() - began)
            report = _proved(stage, bundle, manifest, progress)
            _seal(stage, bundle, replace(manifest, effective=report.candidates[0].effective), report.notes[-1])
        shutil.rmtree(work, ignore_errors=True)
    return report


def _prepared(bundle: Bundle) -> Prepared:
    m = bundle.manifest
    if m.prepared is not None:
        return m.prepared
    if not m.portable:
        raise UsageError(
            f"the bundle '{bundle.path}' is not portable: it is compiled, there is nothing to finish.",
            hint=f"prove it here with `edgekit verify {bundle.path}`",
        )
    only = only_part(bundle.path, m.parts)
    payload = tuple(f"{PREPARED}/{name.removeprefix(f'{PAYLOAD}/')}" for name in only.payload)
    return Prepared((replace(only, payload=payload),), m.digest)


def _payload(bundle: Bundle, prepared: Prepared) -> Payload:
    """Return what was prepared, laid out as `build` left it, wherever it lies now."""
    only = only_part(bundle.path, prepared.parts)
    folder = bundle.path / (PAYLOAD if bundle.manifest.portable else PREPARED)
    names = tuple(name.removeprefix(f"{PREPARED}/") for name in only.payload)
    return Payload(folder, names, only.part, only.options)


def _finishable(bundle: Bundle) -> Finishable:
    name = bundle.manifest.backend
    backend = registry.backend(name)
    if not isinstance(backend, Finishable):
        owner = registry.distribution("backend", name)
        raise EnvironmentFault(
            f"the backend '{name}' ({owner}) does not compile on the device, and the bundle was made by one that does.",
            hint=f"pip install --upgrade {owner.split()[0]}",
        )
    return backend


def _check_device(bundle: Bundle, prepared: Prepared) -> None:
    """Refuse another device with every reason at once."""
    target = bundle.manifest.target
    mismatches = target.mismatches(host.probe())
    requires = [
        {name: fact for name, fact in part.requires.items() if not (name == "arch" and mismatches)}
        for part in prepared.parts
    ]
    problems = (*mismatches, *artifact.unmet(requires))
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in dict.fromkeys(problems))
        raise ArtifactError(
            f"the bundle '{bundle.path}' is to be finished on '{target.name}', and this machine is not one:{lines}",
            hint="copy it to its device and finish it there, or do both with `edgekit deploy`",
        )


def _check_built(built: Built, backend: str, work: Path) -> None:
    missing = [name for name in built.files if not (work / name).is_file()]
    if built.portable or missing or not built.files:
        what = f"did not write {', '.join(missing)}" if missing else "gave nothing that is compiled"
        raise BuildError(
            f"the backend '{backend}' {what}.",
            hint=f"report it to the authors of {registry.distribution('backend', backend)}",
        )


def _assemble(stage: Path, bundle: Bundle, prepared: Prepared, built: Built, work: Path, seconds: float) -> Manifest:
    """Fill `stage` with the finished bundle, all but its report, and return its manifest."""
    m = bundle.manifest
    kept = [f for f in m.files if not (m.prepared and f.path.startswith("model/")) and not _is_report(f.path)]
    for file in kept:
        moved = m.portable and file.path.startswith("model/")
        staging.link(
            bundle.path / file.path, stage / (f"{PREPARED}/{file.path.removeprefix('model/')}" if moved else file.path)
        )
    part = only_part(bundle.path, prepared.parts).part
    filled = staging.fill(stage, [(part, built, work)], m.backend)
    changed = replace(m, **filled, effective=None, prepared=prepared, files=())
    sealed = staging.seal(stage, changed)
    here = host.probe()
    config = {"target": m.target.name, "board": here.board or here.cpu or here.arch}
    versions = dict(registry.backend(m.backend).probe().versions)
    step = Step(STEP, config, versions, prepared.digest, sealed.digest, round(seconds, 3), built.notes)
    return replace(sealed, lineage=(*(s for s in m.lineage if s.name != STEP), step))


def _is_report(name: str) -> bool:
    return name in (artifact.REPORT, "report.md")


def _proved(stage: Path, bundle: Bundle, manifest: Manifest, progress: Progress) -> Report:
    """Verify what was compiled on the stored samples, in a process of its own: a new engine may crash."""
    with Worker(manifest.backend) as worker:
        worker.load(Bundle(stage, manifest).payload)
        quality = verify.against_samples(bundle, lambda _, feeds: worker.run(feeds), progress)
        precision = worker.precision()
    report = verify.proof(Bundle(bundle.path, manifest), quality, precision)
    report = replace(report, notes=(*report.notes, *manifest.lineage[-1].notes, _note(manifest.lineage[-1])))
    if not quality.ok:
        raise AccuracyFailure(
            f"what was compiled on this machine does not give what the original gives: {'; '.join(report.failures)}. "
            f"The bundle '{bundle.path}' stays as it was.",
            hint="export it again with another recipe; `edgekit doctor --json` says what to report of this machine",
            report=report,
        )
    return report


def _note(step: Step) -> str:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    tools = ", ".join(f"{name} {version}" for name, version in step.tools.items())
    return f"{SAYS} {step.config['board']} in {step.seconds:.1f} s, {now}" + (f", by {tools}" if tools else "")


def _seal(stage: Path, bundle: Bundle, manifest: Manifest, note: str) -> None:
    """Write report and manifest: the last two, as the report names the digest of what runs."""
    from edgekit.report import markdown

    sealed = staging.seal(stage, manifest)
    old = bundle.report()
    size_mb = Bundle(stage, sealed).size_mb
    candidates = tuple(
        replace(c, effective=manifest.effective, size_mb=size_mb) if c.status == "shipped" else c
        for c in old.candidates
    )
    notes = (*(line for line in old.notes if not line.startswith(SAYS)), note)
    final = replace(
        old,
        candidates=candidates,
        artifact=sealed.digest,
        evidence=manifest.evidence,
        lineage=manifest.lineage,
        notes=notes,
    )
    final.save(stage / artifact.REPORT)
    (stage / "report.md").write_text(markdown.render(final))
    staging.seal(stage, sealed)
