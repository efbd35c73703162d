"""The candidates as rows of text, in the order in which every format of a report shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.report import figures
from edgekit.result.report import Candidate, Report, Variant

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
    """A candidate as cells of text; '-' stands for a missing value."""

    name: str
    status: str
    p50: str
    p90: str
    end_to_end: str
    """p50 from a raw sample to the answer."""
    ratio: str
    tokens: str
    """Tokens a second after the first, of a model that generates."""
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
    f"{FRONT} on the Pareto front: no other measured candidate is as good in latency, size, memory and quality, and "
    "better in one of them"
)


def legend(report: Report) -> str | None:
    """Return the line that explains the mark of the Pareto front; None without a front."""
    return LEGEND if has_front(report) else None


def has_front(report: Report) -> bool:
    """Return whether several candidates were measured, so that a front among them means something."""
    return sum(candidate.measurement is not None for candidate in report.candidates) > 1 and any(
        candidate.front for candidate in report.candidates
    )


def row(candidate: Candidate, best_p50: float | None, *, prepared: bool = False) -> Row:
    """Return a candidate's cells; its ratio is relative to `best_p50`, in ms. What ships is only `prepared` where
    nothing was measured on its device.
    """
    p50, quality, measured = figures.percentile(candidate, "p50"), candidate.quality, candidate.measurement
    # A tuned candidate was measured again, in another run than the others: their ratios are relative to their own run.
    shipped = p50 is not None and candidate.status == "shipped"
    drop = quality.drop if quality else None
    agreement = quality.agreement if quality else None
    return Row(
        name=figures.clean(candidate.name),
        status="prepared" if prepared and candidate.status == "shipped" else STATUS[candidate.status],
        p50=figures.significant(p50),
        p90=figures.significant(figures.percentile(candidate, "p90")),
        end_to_end=figures.significant(measured.end_to_end.p50_ms if measured and measured.end_to_end else None),
        ratio=figures.ratio(1.0 if shipped else p50 / best_p50 if p50 is not None and best_p50 else None),
        tokens=figures.significant(measured.generation.tokens_per_s if measured and measured.generation else None),
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
    """Return every candidate's cells, in the order of `ordered`."""
    best = figures.reference_p50(report)
    return tuple(row(candidate, best, prepared=figures.prepared(report)) for candidate in ordered(report))


def ordered(report: Report) -> tuple[Candidate, ...]:
    """Return the candidates: the shipped one first, then those that were measured by latency, then the rest."""

    def place(candidate: Candidate) -> tuple[bool, float]:
        p50 = figures.percentile(candidate, "p50")
        return candidate.status != "shipped", math.inf if p50 is None else p50

    return tuple(sorted(report.candidates, key=place))


def options(candidate: Candidate) -> str | None:
    """Return the runtime options that a candidate ships with, and the speed of others; None where none were tried."""
    tuning = candidate.tuning
    if tuning is None:
        return None
    noise = f"; compared on a NOISY machine: {figures.clean('; '.join(tuning.noise))}" if tuning.noise else ""
    others = [variant for variant in tuning.variants if not variant.taken]
    if tuning.taken is None:
        return f"the default; no other proved faster: {', '.join(map(_with_reason, others))}{noise}"
    gain = f"{figures.clean(str(tuning.taken))} ({figures.ratio(tuning.taken.speed)} as fast as the default)"
    listed = ", ".join(f"{figures.clean(str(other))} {figures.ratio(other.speed)}" for other in others)
    return (f"{gain}; others: {listed}" if others else gain) + noise


def _with_reason(variant: Variant) -> str:
    """Return a variant that was not taken with its speed, and why not where that speed is a gain."""
    words = f"{figures.clean(str(variant))} {figures.ratio(variant.speed)}"
    return f"{words} ({figures.clean(variant.reason)})" if variant.speed is None or variant.speed > 1 else words
