"""Verify and benchmark finished bundles on the machine they are on: the device side, which needs no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import bench, catalog, data
from edgekit._share import share
from edgekit.bundle import bench_feeds, integrity
from edgekit.bundle.bundle import Bundle
from edgekit.bundle.bundle import open as open_bundle
from edgekit.bundle.stored_samples import compared, exported_quality
from edgekit.bundle.unscored import with_finite_outputs
from edgekit.data import DataRef, Draw, Samples
from edgekit.errors import ArtifactError, UsageError
from edgekit.evaluation.doubts import doubts
from edgekit.evaluation.gate import count_of_points, points
from edgekit.progress import Progress, Silent
from edgekit.project import DEFAULT_MAX_DROP
from edgekit.result.data_sources import DataSources
from edgekit.result.report import Candidate, Check, Quality, Report
from edgekit.runner import Runner
from edgekit.target import host
from edgekit.tasks.metrics import loss
from edgekit.tasks.text import count_cut

if TYPE_CHECKING:
    from edgekit.plugin import Precision
    from edgekit.tasks.task import Task

EMULATED = "this machine is emulated: nothing was timed, as emulated times are not those of the device"

MAX_SAMPLES = 2000
"""How many samples are evaluated where neither the user nor the bundle has a number."""

MIN_ROUNDS = 20
"""The least number of rounds of a benchmark: `edgekit compare` needs the noise between them."""

SHOWN = 40
"""How many characters of a text a report shows."""


def verify(
    path: str | Path,
    *,
    data: DataRef | None = None,
    max_drop: float | str | None = None,
    max_samples: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare a bundle with its stored samples, and with labelled data if given; failed checks are the `failures` of
    the report.

    The metric's drop is relative to the original's score in the bundle's report, so `data` must be what it was exported
    with: the same samples are drawn again. Raises UsageError where `max_drop` is given and the original's score on the
    data is unknown.
    """
    allowed = None if max_drop is None else share(max_drop)
    if max_samples is not None and max_samples < 1:
        raise UsageError(
            f"max_samples = {max_samples} is not possible: it must be at least 1.",
            hint="leave it out for the number of the export",
        )
    progress = progress or Silent()
    bundle = open_bundle(path)
    samples = None if data is None else _draw_samples(bundle, data, max_samples)
    with bundle.runner() as runner:
        quality = compared(bundle, runner.replay, progress, with_data=samples is not None)
        if samples is not None:
            quality = _on_data(bundle, runner, samples, quality, allowed, progress)
        report = verification_report(bundle, quality, runner.precision)
    notes = integrity.notes(bundle.path, bundle.manifest)
    if samples is None:
        return replace(report, notes=notes)
    sources = DataSources(samples.source, len(samples), samples.digest, labelled=samples.labelled)
    cut, limit = count_cut(bundle.task(), samples)
    if cut:
        notes = (*notes, f"{cut} of {len(samples)} samples have texts that were cut at {limit} tokens")
    return replace(report, data=sources, notes=(*samples.notes, *notes))


def benchmark(
    paths: Sequence[str | Path],
    *,
    seconds: float = 5.0,
    profile: bool = False,
    round_ms: float = 200.0,
    workload: bench.Workload | None = None,
    end_to_end: Sequence[str] = (),
    sensors: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Time one bundle, or several interleaved, on their first stored sample, in the scenario of `workload`.

    A round takes `round_ms`, or less where `seconds` are not enough for `MIN_ROUNDS`. `end_to_end` is a raw sample, as
    the arguments of `edgekit run`: then the time from the sample to the answer is measured too.
    """
    if not paths:
        raise UsageError("no bundle is given.", hint="give the path of one: `edgekit bench out/my-bundle`")
    workload = workload or bench.Workload()
    bundles = [open_bundle(path) for path in paths]
    entries = []
    for bundle in bundles:
        bundle.check_finished()
        feeds, size = bench_feeds.feeds(bundle, workload)
        raw = _raw_sample(bundle, end_to_end) if end_to_end else None
        entries.append(bench.Entry(str(bundle.path), bundle.manifest.backend, bundle.program, feeds, size, raw=raw))
    if len(set(map(str, paths))) < len(paths):
        raise UsageError("a bundle is given twice.", hint="give each bundle once")
    if bench.environment().emulated:  # emulated instructions are slower by factors that differ between kernels
        return _report("bench", bundles[0], tuple(_candidate(bundle, None, "passed", None) for bundle in bundles), ())
    round_ms = min(round_ms, 1e3 * seconds / MIN_ROUNDS)
    settings = workload.settings(seconds, sensors=sensors)
    lead_in_ms = min(settings.lead_in_ms, round_ms / 5)  # short rounds would be mostly lead-in
    settings = replace(settings, round_ms=round_ms, lead_in_ms=lead_in_ms, profile=profile)
    outcomes = bench.benchmark(entries, settings, progress or Silent())
    candidates = []
    for bundle, outcome in zip(bundles, outcomes, strict=True):
        if isinstance(fault := outcome.fault, ArtifactError):
            raise ArtifactError(f"the bundle '{bundle.path}': {fault.message}", hint=fault.hint) from fault
        if fault is not None:
            raise fault
        measurement = outcome.measurement
        effective = measurement.precision if measurement else None
        candidate = _candidate(bundle, None, "passed", effective)
        candidates.append(replace(candidate, measurement=measurement, layers=outcome.layers))
    return _report("bench", bundles[0], tuple(candidates), ())


def _raw_sample(bundle: Bundle, words: Sequence[str]) -> bench.RawSample:
    """Return the sample, after preparing it once: its faults are raised before anything is measured."""
    from edgekit.tasks import user_input

    task = user_input.by_position(bundle.task(), bundle.path / "assets", bundle.program.inputs)
    sample = user_input.sample(task, words)
    next(task.steps(sample), None)
    name = " + ".join(word if len(word) <= SHOWN else f"{word[:SHOWN]}..." for word in words)
    return bench.RawSample(task.config, bundle.path / "assets", bundle.program.inputs, sample, name)


def _on_data(
    bundle: Bundle,
    runner: Runner,
    samples: Samples,
    quality: Quality,
    max_drop: float | None,
    progress: Progress,
) -> Quality:
    task = bundle.task()
    original, note = _original_score(bundle, samples)
    if original is None and (max_drop is not None or not quality.checks):
        what = "nothing can" if max_drop is None else f"a loss of at most {count_of_points(max_drop)} cannot"
        raise UsageError(
            f"{what} be checked: {note[0]}.",
            hint=_what_can_be_checked(bundle, bool(quality.checks)),
        )
    unscored = task.metric is None or not samples.labelled
    if unscored and samples.digest == bundle.report().data.evaluation_digest:
        return with_finite_outputs(task, runner, samples, quality, progress)
    score, labels = _score(task, runner, samples, progress)
    notes = (*quality.notes, *note, *doubts(task.metric, score, labels, "this bundle"))
    scored = replace(quality, labelled=len(labels), metric=task.metric, score=score, notes=notes)
    if original is None:
        return scored
    allowed = DEFAULT_MAX_DROP if max_drop is None else max_drop
    drop = loss(task.metric, original, score)
    meaning = (
        f"{task.metric} {score:.4f}, {original:.4f} for the original: {points(drop)}, "
        f"{count_of_points(allowed)} allowed"
    )
    check = Check(f"{task.metric} drop", drop, allowed, drop <= allowed + 1e-9, meaning)
    return replace(scored, original_score=original, drop=drop, checks=(*quality.checks, check))


def _draw_samples(bundle: Bundle, ref: DataRef, max_samples: int | None) -> Samples:
    """Return the samples that the export evaluated on, where the bundle records the draw; with `max_samples` others."""
    samples = data.load(replace(ref, inputs=tuple(spec.name for spec in bundle.manifest.inputs)))
    draw = bundle.report().data.evaluation_draw or Draw(0, MAX_SAMPLES, 0)
    return replace(draw, most=max_samples or draw.most).parts(samples)[1]


def _score(task: Task, runner: Runner, samples: Samples, progress: Progress) -> tuple[float, list[Any]]:
    """Return the metric, and the labels of the samples that have one: only they count."""
    from edgekit.tasks import drive

    data.require_labels(samples, "to verify the metric")
    if task.metric is None:
        raise UsageError(
            f"the task '{task.config.task}' has no metric to verify labelled data with.",
            hint="leave out --data: the outputs are verified on the stored samples",
        )
    predictions, labels = [], []
    with progress.step(f"verifying {samples.source}", len(samples)) as tick:
        for sample in samples:
            if sample.label is None:
                tick()
                continue
            inferences = drive(task, sample, runner.start())
            predictions.append(task.predict([inference.outputs for inference in inferences], sample))
            labels.append(task.label(sample.label))
            tick()
    return task.score(predictions, labels), labels


def _what_can_be_checked(bundle: Bundle, stored: bool) -> str:
    """Return the step that leads to a check: by the original's score, where the export has one, or by samples."""
    quality = exported_quality(bundle)
    if quality is not None and quality.original_score is not None:
        return "give the data that the bundle was exported with" + (", or leave out --max-drop" if stored else "")
    return "leave out --max-drop, or export again with labelled data" if stored else "export again with labelled data"


def _original_score(bundle: Bundle, samples: Samples) -> tuple[float | None, tuple[str, ...]]:
    quality = exported_quality(bundle)
    if quality is None or quality.original_score is None:
        return None, ("the bundle was exported without labels: the original has no score to compare with",)
    if bundle.report().data.evaluation_digest != samples.digest:
        return None, ("these are not the samples of the export: the original's score on them is unknown",)
    return quality.original_score, ()


def verification_report(bundle: Bundle, quality: Quality, effective: Precision) -> Report:
    """Return the report of a verification with its failed checks."""
    candidate = _candidate(bundle, quality, "passed" if quality.ok else "failed-gate", effective)
    failures = tuple(check.meaning for check in quality.checks if not check.passed)
    return _report("verify", bundle, (candidate,), failures)


def _candidate(bundle: Bundle, quality: Quality | None, status: str, effective: Precision | None) -> Candidate:
    manifest = bundle.manifest
    return Candidate(
        name=str(bundle.path),
        backend=manifest.backend,
        recipe=manifest.recipe,
        status=status,  # type: ignore[arg-type]  # the callers above give one of the literals
        reason="",
        asked=manifest.asked,
        effective=effective or manifest.effective,
        size_mb=bundle.size_mb,
        part_sizes_mb=bundle.part_sizes_mb,
        quality=quality,
    )


def _report(kind: str, bundle: Bundle, candidates: tuple[Candidate, ...], failures: tuple[str, ...]) -> Report:
    manifest = bundle.manifest
    environment = bench.environment(catalog.runtime(manifest.backend).packages)
    mismatches = manifest.target.mismatches(host.probe()) if kind == "bench" else ()
    notes: tuple[str, ...] = ()
    if environment.emulated and kind == "bench":
        notes = (EMULATED,)
    elif mismatches:
        notes = (f"measured on this machine, which is not '{manifest.target.name}': {'; '.join(mismatches)}",)
    here = kind == "bench" and not mismatches and not environment.emulated
    return Report(
        kind=kind,  # type: ignore[arg-type]
        model=manifest.model,
        task=manifest.task,
        target=manifest.target.name,
        evidence="measured_on_device" if here else manifest.evidence,
        environment=environment,
        candidates=candidates,
        artifact=manifest.digest,
        lineage=manifest.lineage,
        failures=failures,
        notes=notes,
        noisy=any(c.measurement is not None and c.measurement.noise.noisy for c in candidates),
    )
