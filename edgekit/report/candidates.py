"""The candidates as rows of text, in the order in which every form of a report shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.report import figures
from edgekit.result.report import Candidate, Report

STATUS = {
    "shipped": "shipped",
    "passed": "passed",
    "failed-gate": "failed gate",
    "over-budget": "over budget",
    "slower": "slower",
    "no-gain": "no gain",
    "baseline": "baseline",
    "unsupported": "unsupported",
    "build-failed": "build failed",
}


@dataclass(frozen=True)
class Row:
    """A candidate as cells of text; '-' is a value that is not there."""

    name: str
    status: str
    p50: str
    p90: str
    whole: str
    """p50 from a raw sample to the answer."""
    ratio: str
    rate: str
    size: str
    memory: str
    precision: str
    score: str
    drop: str
    agreement: str
    reason: str
    front: bool


FRONT = "*"
LEGEND = (
    f"{FRONT} on the Pareto front: no other one that was measured is as good in latency, size, memory and quality, and "
    "better in one"
)


def legend(report: Report) -> str | None:
    """Return what the mark of the front means; None where there is nothing to compare."""
    return LEGEND if has_front(report) else None


def has_front(report: Report) -> bool:
    """Return whether several candidates were measured, so that a front among them means something."""
    return sum(candidate.measurement is not None for candidate in report.candidates) > 1 and any(
        candidate.front for candidate in report.candidates
    )


def row(candidate: Candidate, best_p50: float | None) -> Row:
    """Return a candidate's cells; its ratio is against `best_p50`."""
    p50, quality, measured = figures.percentile(candidate, "p50"), candidate.quality, candidate.measurement
    # Tuned, it was measured once more, in another run than the others: their ratios are to what it was in theirs.
    shipped = p50 is not None and candidate.status == "shipped"
    drop = quality.drop if quality else None
    agreement = quality.agreement if quality else None
    return Row(
        name=figures.clean(candidate.name),
        status=STATUS[candidate.status],
        p50=figures.significant(p50),
        p90=figures.significant(figures.percentile(candidate, "p90")),
        whole=figures.significant(measured.end_to_end.p50_ms if measured and measured.end_to_end else None),
        ratio=figures.ratio(1.0 if shipped else p50 / best_p50 if p50 is not None and best_p50 else None),
        rate=figures.significant(measured.throughput_per_s if measured else None),
        size=figures.significant(candidate.size_mb),
        memory=figures.significant(measured.peak_memory_mb if measured else None),
        precision=figures.precision(figures.effective(candidate)),
        score=f"{quality.score:.4f}" if quality and quality.score is not None else figures.NONE,
        drop=f"{100 * drop:.2f}".replace("-0.00", "0.00") if drop is not None else figures.NONE,
        agreement=f"{100 * agreement:.1f}%" if agreement is not None else figures.NONE,
        reason=figures.clean(candidate.reason),
        front=candidate.front,
    )


def rows(report: Report) -> tuple[Row, ...]:
    """Return every candidate's cells: the shipped one first, then the measured by latency, then the rest."""
    best = figures.reference_p50(report)
    return tuple(row(candidate, best) for candidate in ordered(report))


def ordered(report: Report) -> tuple[Candidate, ...]:
    def place(candidate: Candidate) -> tuple[bool, float]:
        p50 = figures.percentile(candidate, "p50")
        return candidate.status != "shipped", math.inf if p50 is None else p50

    return tuple(sorted(report.candidates, key=place))


def options(candidate: Candidate) -> str | None:
    """Return which runtime options a candidate ships with, and what the others would have done."""
    tuning = candidate.tuning
    if tuning is None:
        return None
    others = ", ".join(
        f"{figures.clean(str(one))} {figures.ratio(one.speed)}" for one in tuning.variants if not one.taken
    )
    if tuning.taken is None:
        return f"the default; no other is faster: {others}"
    gain = f"{figures.clean(str(tuning.taken))} ({figures.ratio(tuning.taken.speed)} as fast as the default)"
    return f"{gain}; others: {others}" if others else gain
