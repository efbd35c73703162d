"""The main job: try every candidate of a target, gate it, measure it beside the others, and ship the best that passes:
the fastest, unless the user asked for another objective.

A plain sequence: the plan says what to try, `builder.py` builds it, `evaluation/gate.py` judges it, `bench/` times all
of them interleaved, `selection.py` chooses, and `write_bundle.py` writes the winner with the report of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import bench, cache
from edgekit.bundle import staging
from edgekit.bundle.bundle import Bundle
from edgekit.evaluation import data_check
from edgekit.pipeline import (
    bench_inputs,
    bundle_samples,
    candidates,
    mixed_precision,
    search,
    selection,
    tuning,
    write_bundle,
)
from edgekit.pipeline.builder import Builder
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.export import Export
from edgekit.pipeline.planning import plan
from edgekit.progress import Progress, Silent
from edgekit.project import Project
from edgekit.result.report import Report


@dataclass(frozen=True)
class Result:
    """What an export returns: the report, and the bundle of the candidate that was shipped."""

    report: Report
    bundle: Bundle


def run(project: Project, *, force: bool = False, progress: Progress | None = None, module: Any = None) -> Result:
    """Export the project's model for its target; `module` is an `nn.Module` to export instead of a reference.

    Raises AccuracyFailure or PerformanceFailure when nothing passes, after writing the report beside the output
    (`context["report"]` is its path), and the other errors of `edgekit.errors` for what they say.
    """
    progress = progress or Silent()
    output = Path(project.output or default_output(project))
    staging.check(output, force=force)
    planned = plan(project, live=module is not None)
    data_check.check_metric_code(project)
    with cache.disk_faults(output, "the export"), cache.in_use(), Builder(planned, progress, module) as builder:
        bundle = ship(Export.start(planned, builder), output, force=force)
    return Result(bundle.report(), bundle)


def ship(export: Export, output: Path, *, force: bool = False) -> Bundle:
    """Build, judge and measure every candidate, and write the bundle of the best. Raises what `run` raises."""
    bundle_samples.check(export)
    built, lost = candidates.build_all(export)
    built = mixed_precision.add_mixes(export, built)
    built = search.add_trials(export, built)
    built = measure(export, built)
    reported, winner = selection.select(export.plan, built)
    if winner is not None:
        tuned, tried = tuning.tune(export, winner)
        reported = [selection.with_tuning(c, tuned, tried) if c.status == "shipped" else c for c in reported]
        built, winner = [tuned if candidate is winner else candidate for candidate in built], tuned
    report = write_bundle.report(export, (*reported, *lost))
    if winner is None:
        write_bundle.fail(report, output, export.plan)
    return write_bundle.write(export, output, report, winner, built, force=force)


def default_output(project: Project) -> str:
    """Return `out/MODEL-TARGET`."""
    name = (project.model or "model").rstrip("/").replace("\\", "/").split("/")[-1].split(":")[-1]
    target = Path(project.target).name.removesuffix(".toml").replace(":", "-")
    return f"out/{name.removesuffix('.onnx')}-{target}"


def measure(export: Export, built: Sequence[BuiltCandidate]) -> list[BuiltCandidate]:
    """Time every built candidate interleaved, those that failed the gate too: the user sees what the gate costs."""
    project = export.plan.project
    if export.plan.mismatches or not project.bench or any(candidate.compiled.portable for candidate in built):
        return list(built)  # beside what runs only once it is finished, nothing can be compared
    feeds, batch = bench_inputs.feeds(export, [candidate.compiled.inputs for candidate in built])
    entries = [candidate.entry(candidate.name, feeds, batch) for candidate in built]
    outcomes = bench.benchmark(entries, bench_inputs.settings(project.bench_seconds), export.progress)
    return [
        replace(candidate, outcome=bench_inputs.with_raw_file(outcome))
        for candidate, outcome in zip(built, outcomes, strict=True)
    ]
