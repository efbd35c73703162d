"""The words that every format of a report uses: numbers with their units, the verdict, and the facts behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.plugin import Precision
from edgekit.result.measurement import Measurement
from edgekit.result.report import Candidate, Report

NONE = "-"

EVIDENCE = {
    "parsed": "parsed: the graph was read; nothing was compiled or run on the device",
    "aot_compiled": "compiled ahead of time: nothing was run on the device",
    "built_on_device": "built on the device, not measured",
    "measured_on_device": "measured on the device",
}


def significant(value: float | None) -> str:
    """Return a number with three significant digits, without decimals from a thousand on: 0.150, 2.90, 136, 2340."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{min(digits, 6)}f}" if abs(rounded) < 1000 else f"{value:.0f}"


def ms(value: float | None) -> str:
    return NONE if value is None else f"{significant(value)} ms"


def mb(value: float | None) -> str:
    return NONE if value is None else f"{significant(value)} MB"


def per_second(measured: Measurement) -> str:
    streams = f", {measured.streams} at a time" if measured.streams > 1 else ""
    if measured.batch == 1:
        return f"{significant(measured.throughput_per_s)} per second{streams}"
    return f"{significant(measured.throughput_per_s)} samples per second, in batches of {measured.batch}{streams}"


def ratio(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.2f}x" if value < 10 else f"{significant(value)}x"


def points(drop: float | None) -> str:
    """Return a drop of a metric in points, hundredths of its unit: `0.28 points lost`."""
    if drop is None:
        return NONE
    rounded = round(100 * drop, 2)
    if rounded == 0:
        return "nothing lost"
    return f"{abs(rounded):.2f} points {'lost' if rounded > 0 else 'gained'}"


def percentile(candidate: Candidate, name: str) -> float | None:
    return candidate.measurement.percentiles_ms.get(name) if candidate.measurement else None


def reference_p50(report: Report) -> float | None:
    """Return the p50, in ms, that ratios are relative to: the shipped candidate's, else the least.

    A tuned candidate was measured again in a run with its default options only. In the run of the other candidates its
    p50 would have been that of the default options, divided by the gain.
    """
    shipped = report.shipped
    if shipped is None:
        known = [p50 for candidate in report.candidates if (p50 := percentile(candidate, "p50")) is not None]
        return min(known, default=None)
    taken = shipped.tuning.taken if shipped.tuning else None
    if shipped.tuning and taken and taken.speed:
        return shipped.tuning.before.p50_ms / taken.speed
    return percentile(shipped, "p50")


def precision(value: Precision | None) -> str:
    return value.main if value else NONE


def effective(candidate: Candidate) -> Precision | None:
    return candidate.effective or (candidate.measurement.precision if candidate.measurement else None)


OBJECTIVES = {
    "latency": "the least latency",
    "throughput": "the most samples per second",
    "size": "the smallest payload",
    "memory": "the least memory at peak",
}


def objective(report: Report) -> str:
    """Return what the shipped candidate was chosen for."""
    return f"{OBJECTIVES[report.objective]}, of the candidates that pass"


def verdict(report: Report) -> tuple[str, str]:
    """Return the verdict of a report in a word or two, and the rest of its first line."""
    subject = f"{clean(report.model)} for {clean(report.target)}"
    word, words = _verdict(report, subject)
    return word, f"{words}; {NOISY}" if noisy(report) else words


NOISY = "on a NOISY machine, times are uncertain"


def noisy(report: Report) -> bool:
    """Return whether other work disturbed what the report says of times: the mark in its JSON, or of an older report
    any measurement that was disturbed.
    """
    runs = [candidate.measurement for candidate in report.candidates if candidate.measurement]
    return report.noisy or any(run.noise.noisy for run in runs)


def _verdict(report: Report, subject: str) -> tuple[str, str]:
    if report.kind == "bench":
        count = sum(candidate.measurement is not None for candidate in report.candidates)
        where = "" if report.evidence == "measured_on_device" else "another machine than "
        return "MEASURED", f"{count} {'bundle' if count == 1 else 'bundles'} on {where}{clean(report.target)}"
    if report.kind == "deploy":
        measured = any(candidate.measurement for candidate in report.candidates)
        where = f"{clean(report.model)} on {clean(report.environment.host.board or report.environment.host.arch)}"
        return ("FAILED" if not report.ok else "DEPLOYED" if measured else "VERIFIED"), where
    if report.kind == "verify":
        if report.ok and any(c.quality and c.quality.metric and c.quality.drop is None for c in report.candidates):
            return "NOT JUDGED", f"{subject}: the metric of the original is unknown"
        return ("VERIFIED" if report.ok else "FAILED"), subject
    if not report.ok:
        return "FAILED", f"{subject}: " + ("nothing was shipped" if report.shipped is None else "a budget was missed")
    if report.shipped is None:
        return "NOTHING SHIPPED", subject
    limit = f" ({ONE_PASS})" if any("as one pass without a cache" in note for note in report.notes) else ""
    return (PREPARED if prepared(report) else "SHIPPED"), f"{clean(report.shipped.name)}: {subject}{limit}"


PREPARED = "PREPARED, not measured"

ONE_PASS = "one pass without a cache: it cannot generate text"
"""What a causal model is that was exported as one graph."""


def prepared(report: Report) -> bool:
    """Return whether an export is for a device elsewhere: there it is measured whether another candidate is faster."""
    shipped = report.shipped
    elsewhere = report.kind == "export" and report.evidence in ("parsed", "aot_compiled")
    return elsewhere and shipped is not None and shipped.measurement is None


def speed(report: Report) -> str | None:
    """Return how fast the shipped candidate is, and how many times as fast as each fp32 candidate of the same run; None
    where nothing was measured.
    """
    shipped = report.subject
    if shipped is None or shipped.measurement is None:
        return None
    reference, measured = reference_p50(report), shipped.measurement
    latency = ", ".join(
        f"{name} {ms(value)}" for name, value in measured.percentiles_ms.items() if name in ("p50", "p90")
    )
    latency = latency or f"mean {ms(measured.mean_ms)} of {measured.count}, too few for a percentile"
    parts = [f"{latency}; {per_second(measured)}"]
    if shipped.recipe == "fp32" and report.shipped:
        parts.append(_full_precision(report, shipped))
    for other in report.candidates:
        theirs = percentile(other, "p50")
        if other.recipe == "fp32" and other is not shipped and reference and theirs is not None:
            faster = gain(report, other, theirs / reference)
            parts.append(f"{faster} as fast as {clean(other.name)} ({ms(theirs)})")
    return "; ".join(parts)


def gain(report: Report, other: Candidate, factor: float) -> str:
    """Return how many times as fast as another candidate the shipped one is, with the interval where it was measured;
    on a noisy machine never without.
    """
    behind = other.behind
    tuned = report.shipped.tuning.taken if report.shipped and report.shipped.tuning else None
    if behind is None:
        return f"{ratio(factor)}{' (interval unknown)' if noisy(report) else ''}"
    times = tuned.speed if tuned and tuned.speed else 1.0
    return f"{ratio(factor)} ({ratio(times * behind.low)} to {ratio(times * behind.high)})"


def _full_precision(report: Report, shipped: Candidate) -> str:
    """Return why no lower precision was shipped, as far as lower precisions were built."""
    lower = [other for other in report.candidates if other.recipe != shipped.recipe and other.quality]
    own = "fp32" if shipped.asked == "f32" else f"the model as given ({shipped.asked})"
    if report.objective not in ("latency", "throughput"):
        return own
    if not lower:
        return f"{own}: no lower precision was built"
    return f"{own} is the fastest that passes: no lower precision was both faster and good enough"


def footprint(candidate: Candidate) -> str:
    """Return a candidate's size, memory and cold start."""
    parts = [mb(candidate.size_mb)] if candidate.size_mb is not None else []
    measured = candidate.measurement
    if measured and measured.peak_memory_mb is not None:
        parts.append(f"{measured.peak_memory_mb:.0f} MB of memory at peak")
    if measured and measured.cold_start:
        cold = measured.cold_start
        total = cold.import_ms + cold.load_ms + cold.first_inference_ms
        parts.append(
            f"cold start {ms(total)} (import {ms(cold.import_ms)}, load {ms(cold.load_ms)}, first answer "
            f"{ms(cold.first_inference_ms)})"
        )
    return ", ".join(parts)


def running(candidate: Candidate) -> str:
    """Return the precision that a candidate really runs in, where it is known, and the one that was asked for."""
    precision = effective(candidate)
    if precision is None:
        return f"requested {candidate.asked}; the runtime was not asked what it runs in"
    layers = ", ".join(
        f"{count} in {name}" for name, count in sorted(precision.layers.items(), key=lambda item: -item[1])
    )
    return f"{precision.main} (requested {candidate.asked}" + (f"; layers: {layers})" if layers else ")")


def parts(candidate: Candidate) -> str:
    """Return the size, the precision and the time of each part; empty for a model of one."""
    precision, measured = effective(candidate), candidate.measurement
    times = {each.part: each for each in measured.parts} if measured else {}
    words = []
    for name, size in candidate.part_sizes_mb.items():
        facts = [mb(size)]
        if precision is not None and name in precision.parts:
            facts.append(precision.parts[name])
        if name in times:
            count = times[name].calls
            facts.append(f"{count} {'call' if count == 1 else 'calls'} in {ms(times[name].time_ms)}")
        words.append(f"{clean(name)} {', '.join(facts)}")
    return "; ".join(words)


def measurement(measured: Measurement) -> str:
    """Return how a measurement was done: scenario, count, seconds, threads, shapes."""
    shapes = ", ".join(f"{name}{list(shape)}" for name, shape in measured.shapes.items())
    size = f" of {measured.batch} samples" if measured.batch > 1 else ""
    parts = [
        f"{measured.scenario}, {measured.count} inferences{size} in {significant(measured.seconds)} s after "
        f"{measured.warmup_count} to warm up",
        "steady" if measured.converged else "NOT steady when it ended",
    ]
    if measured.scenario in ("offline", "fixed-rate"):
        parts.append(per_second(measured))
    parts += [f"{measured.threads} threads"] if measured.threads else []
    parts += [shapes] if shapes else []
    return "; ".join(parts)


def metric_name(candidates: Sequence[Candidate]) -> str:
    """Return the name of the metric that the candidates were judged by."""
    return next((c.quality.metric for c in candidates if c.quality and c.quality.metric), "score")


def clean(text: str) -> str:
    """Return the text without control characters: a model's name must not move the cursor or break a table."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
