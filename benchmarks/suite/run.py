"""The three stages for one model: build every tool's artifact, judge each, time all of them by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.bench import Outcome, Settings, benchmark, environment, faster
from edgekit.errors import EdgekitError
from edgekit.progress import Progress
from models.subject import Rows, Subject
from suite import tools
from suite.artifact import Artifact, Failed, build
from suite.quality import passes, score
from suite.table import Page, Row
from suite.tools import Tool

WARMUP_SECONDS = 2.0
MOST_TIMES = 3
"""A slow model's rounds may take this many times the seconds asked for, so that it has enough of them."""


def build_all(
    todo: Sequence[Tool], folder: Path, threads: int, progress: Progress, *, again: Sequence[str], retry: bool
) -> list[Artifact]:
    """Build what is not there; a tool that fails is an artifact with its reason."""
    artifacts = []
    with progress.step(f"{folder.name}: build", len(todo)) as tick:
        for tool in todo:
            progress.note(f"{folder.name}: {tool.title}")
            artifact = build(tool, folder, threads, again=tool.name in again, retry=retry)
            if artifact.failure:
                progress.note(f"{folder.name}: {tool.title} made nothing: {artifact.failure}")
            artifacts.append(artifact)
            tick(1, tool.name)
    return artifacts


def judge_all(artifacts: Sequence[Artifact], folder: Path, progress: Progress) -> list[Row]:
    """Judge every artifact and hold it against the original; one that does not run says so in its row."""
    subject = Subject.load(folder)
    rows = []
    titles = {tool.name: tool.title for tool in tools.TOOLS}
    for artifact in artifacts:
        row = Row(artifact.tool, titles[artifact.tool], artifact.failure, versions=artifact.versions or {})
        if artifact.ok:
            facts = {"size_mb": artifact.size_mb, "build_seconds": artifact.seconds, "detail": artifact.detail}
            row = replace(row, **facts)
            try:
                with progress.step(f"{folder.name}: judge {row.title}"):
                    row = replace(row, score=score(artifact, folder))
            except Failed as error:
                row = replace(row, failure=f"it does not run: {error}")
        rows.append(row)
    scores = {row.tool: row.score for row in rows}
    # A model that comes as a graph has no torch: its float graph is the original.
    original = scores.get(tools.ORIGINAL) if scores.get(tools.ORIGINAL) is not None else scores.get(tools.BASELINE)
    return [_held(row, original, subject.allowed) for row in rows]


def _held(row: Row, original: float | None, allowed: float) -> Row:
    if row.score is None or original is None:
        return row
    drop = original - row.score
    return replace(row, drop=drop, passes=passes(drop, allowed))


def time_all(
    artifacts: Sequence[Artifact], rows: Sequence[Row], folder: Path, threads: int, seconds: float, progress: Progress
) -> list[Row]:
    """Time what runs, all in one interleaved run on the same real input."""
    feeds = Rows.load(folder / "evaluation.npz").feeds(0)
    usable = [artifact for artifact, row in zip(artifacts, rows, strict=True) if artifact.ok and row.failure is None]
    entries = [artifact.entry(artifact.tool, feeds, threads) for artifact in usable]
    settings = Settings(
        min_seconds=seconds, max_seconds=MOST_TIMES * seconds, warmup_max_seconds=WARMUP_SECONDS, cold_start=False
    )
    outcomes = {outcome.name: outcome for outcome in benchmark(entries, settings, progress)}
    return [_timed(row, outcomes) for row in rows]


def _timed(row: Row, outcomes: dict[str, Outcome]) -> Row:
    outcome = outcomes.get(row.tool)
    if outcome is None:
        return row
    if outcome.fault is not None or outcome.measurement is None:
        return replace(row, failure=f"it does not run: {_short(outcome.fault)}")
    measurement = outcome.measurement
    against = {name: outcomes[name] for name in (tools.BASELINE, tools.OURS) if name in outcomes and outcomes[name].ok}
    precision = measurement.precision
    return replace(
        row,
        p50_ms=measurement.percentiles_ms.get("p50"),
        p90_ms=measurement.percentiles_ms.get("p90"),
        speed=faster(outcome, against[tools.BASELINE]) if tools.BASELINE in against else None,
        ours=faster(against[tools.OURS], outcome) if tools.OURS in against and row.tool != tools.OURS else None,
        precision=precision.main if precision else None,
        layers=dict(precision.layers) if precision else {},
        noise="; ".join(measurement.noise.reasons) if measurement.noise.noisy else "quiet",
        count=measurement.count,
        round_medians_ms=tuple(turn.median_ns / 1e6 for turn in outcome.rounds),
    )


def page(folder: Path, rows: Sequence[Row], threads: int, seconds: float, command: str) -> Page:
    """Put one model's rows together with what they were measured on."""
    subject = Subject.load(folder)
    samples = Rows.load(folder / "evaluation.npz")
    count = 0 if samples.labels is None else len(samples.labels)
    facts = environment(("torch", "onnxruntime", "openvino", "nncf", "optimum-onnx", "transformers")).to_dict()
    return Page(
        subject.name, subject.summary, subject.metric, subject.allowed, count, threads, seconds, tuple(rows), facts,
        command, tuple(map(str, samples.specs)),
    )  # fmt: skip


def _short(error: EdgekitError | None) -> str:
    return " ".join(str(error.message if error else "no reason was given").split())[:400]
