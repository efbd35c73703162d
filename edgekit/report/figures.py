"""What every form of a report says, in words: numbers with their units, the verdict, what stands behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from edgekit.plugin import Precision
from edgekit.result.measurement import Measurement
from edgekit.result.report import Candidate, Environment, Quality, Report

NONE = "-"

EVIDENCE = {
    "parsed": "parsed: the graph was read; nothing was compiled or run on the device",
    "aot_compiled": "compiled ahead of time: nothing was run on the device",
    "built_on_device": "built on the device, not measured",
    "measured_on_device": "measured on the device",
}


def significant(value: float | None) -> str:
    """Write a number with three significant digits, whole from a thousand on: 0.150, 2.90, 136, 2340."""
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


def per_second(found: Measurement) -> str:
    streams = f", {found.streams} at a time" if found.streams > 1 else ""
    if found.batch == 1:
        return f"{significant(found.throughput_per_s)} per second{streams}"
    return f"{significant(found.throughput_per_s)} samples per second, in batches of {found.batch}{streams}"


def ratio(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.2f}x" if value < 10 else f"{significant(value)}x"


def points(drop: float | None) -> str:
    """Say a drop of a metric in points, a hundredth of its unit: `0.28 points lost`."""
    if drop is None:
        return NONE
    rounded = round(100 * drop, 2)
    if rounded == 0:
        return "nothing lost"
    return f"{abs(rounded):.2f} points {'lost' if rounded > 0 else 'gained'}"


def percentile(candidate: Candidate, name: str) -> float | None:
    return candidate.measurement.percentiles_ms.get(name) if candidate.measurement else None


def reference_p50(report: Report) -> float | None:
    """Return the latency that ratios are against: the shipped candidate's, else the least.

    A tuned one was measured again beside its default options only. What it would have been beside the other candidates
    is what the default options were there, divided by the gain.
    """
    shipped = report.shipped
    if shipped is None:
        found = [p50 for candidate in report.candidates if (p50 := percentile(candidate, "p50")) is not None]
        return min(found, default=None)
    taken = shipped.tuning.taken if shipped.tuning else None
    if shipped.tuning and taken and taken.speed:
        return shipped.tuning.before.p50_ms / taken.speed
    return percentile(shipped, "p50")


def precision(found: Precision | None) -> str:
    return found.main if found else NONE


def effective(candidate: Candidate) -> Precision | None:
    return candidate.effective or (candidate.measurement.precision if candidate.measurement else None)


OBJECTIVES = {
    "latency": "the least latency",
    "throughput": "the most samples per second",
    "size": "the smallest payload",
    "memory": "the least memory at peak",
}


def objective(report: Report) -> str:
    """Return what the shipped candidate is the best in."""
    return f"{OBJECTIVES[report.objective]}, of the candidates that pass"


def verdict(report: Report) -> tuple[str, str]:
    """Return the first words of a report, and the line that follows them."""
    subject = f"{clean(report.model)} for {clean(report.target)}"
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
            return "NOT JUDGED", f"{subject}: what the metric was for the original is not known"
        return ("VERIFIED" if report.ok else "FAILED"), subject
    if not report.ok:
        return "FAILED", f"{subject}: " + ("nothing was shipped" if report.shipped is None else "a budget was missed")
    if report.shipped is None:
        return "NOTHING SHIPPED", subject
    return "SHIPPED", f"{clean(report.shipped.name)}: {subject}"


def speed(report: Report) -> str | None:
    """Return how fast the shipped candidate is, and how many times as fast as each fp32 candidate of the same run."""
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
            parts.append(f"{ratio(theirs / reference)} as fast as {clean(other.name)} ({ms(theirs)})")
    return "; ".join(parts)


def _full_precision(report: Report, shipped: Candidate) -> str:
    """Return why no lower precision was shipped; of what was not built nothing is known."""
    lower = [other for other in report.candidates if other.recipe != shipped.recipe and other.quality]
    own = "fp32" if shipped.asked == "f32" else f"the model as it came ({shipped.asked})"
    if report.objective not in ("latency", "throughput"):
        return own
    if not lower:
        return f"{own}: no lower precision was built"
    return f"{own} is the fastest that passes: no lower precision was both faster and good enough"


def quality(found: Quality) -> str:
    """Return how much of the original's quality was kept, and on how many samples that was seen."""
    against = f" ({clean(found.reference)})" if found.reference else ""
    if found.metric and found.score is not None and found.original_score is not None:
        kept = f"{found.metric} {found.score:.4f} against {found.original_score:.4f} of the original{against}: "
        kept += points(found.drop)
        kept += f", on {found.labelled} labelled samples"
    elif found.metric and found.score is not None:
        kept = f"{found.metric} {found.score:.4f} on {found.labelled} labelled samples; the original's is not known"
    elif found.agreement is not None:
        kept = f"the original's top answer{against} on {100 * found.agreement:.2f}% of {found.samples} samples"
    else:
        kept = f"least cosine {found.cosine:.6f} to the original's outputs{against} on {found.samples} samples"
    return kept if found.metric else kept + (", labels not used" if found.labelled else ", no labels")


def differences(found: Quality) -> str:
    """Return how far the outputs are from the original's."""
    words = f"greatest absolute {found.max_abs:.2e}, relative L2 {found.rel_l2:.2e}, least cosine {found.cosine:.6f}"
    return words if found.agreement is None else f"{words}, same top answer {100 * found.agreement:.2f}%"


def footprint(candidate: Candidate) -> str:
    """Say a candidate's size, memory, precision and cold start."""
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
    """Say in which precision a candidate really runs, where that is known, and what was asked."""
    found = effective(candidate)
    if found is None:
        return f"asked {candidate.asked}; what runs was not asked of the runtime"
    layers = ", ".join(f"{count} in {name}" for name, count in sorted(found.layers.items(), key=lambda item: -item[1]))
    return f"{found.main} (asked {candidate.asked}" + (f"; layers: {layers})" if layers else ")")


def measurement(found: Measurement) -> str:
    """Return how a measurement was made."""
    shapes = ", ".join(f"{name}{list(shape)}" for name, shape in found.shapes.items())
    parts = [
        f"{found.scenario}, {found.count} inferences{f' of {found.batch} samples' if found.batch > 1 else ''} in "
        f"{significant(found.seconds)} s after {found.warmup_count} to warm up",
        "steady" if found.converged else "NOT steady when it ended",
    ]
    if found.scenario in ("offline", "fixed-rate"):
        parts.append(per_second(found))
    parts += [f"{found.threads} threads"] if found.threads else []
    parts += [shapes] if shapes else []
    return "; ".join(parts)


def environment(found: Environment) -> tuple[tuple[str, str], ...]:
    """Return the machine and software as (what, words)."""
    host = found.host
    memory = f", {host.memory_mb} MB" if host.memory_mb else ""
    machine = f"{clean(host.cpu or 'unknown processor')}, {host.cores} cores{memory}" + (
        ", virtual" if host.virtual else ""
    )
    lines = [
        ("machine", machine + (f", {clean(host.board)}" if host.board else "")),
        ("arch", f"{host.arch}: {', '.join(host.isa) or 'no known extensions'}"),
        ("system", f"{host.os} {host.kernel}, {host.libc or 'unknown libc'}, Python {host.python}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in found.packages.items())),
    ]
    lines += [("governor", found.governor)] if found.governor else []
    lines += [("EMULATED", "times of an emulated machine say nothing about the device")] if found.emulated else []
    lines += [("created", found.created)] if found.created else []
    return tuple((name, words) for name, words in lines if words)


def facts(report: Report) -> tuple[tuple[str, str], ...]:
    """Return the data's facts as (what, words)."""
    return tuple((clean(str(name)), _fact(value)) for name, value in report.data.to_dict().items())


def _fact(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value[:12]  # enough to tell two digests apart; the whole is in the JSON
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(name))} {_fact(item)}" for name, item in value.items())
    return clean(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))


def lineage(report: Report) -> tuple[tuple[str, str], ...]:
    """Return the steps that made the artifact as (step, words)."""
    found = []
    for step in report.lineage:
        config = ", ".join(f"{name}={value}" for name, value in step.config.items())
        tools = ", ".join(f"{name} {version}" for name, version in step.tools.items())
        words = [f"{significant(step.seconds)} s", config, tools, *step.notes]
        found.append((clean(step.name), clean("; ".join(word for word in words if word))))
    return tuple(found)


def metric_name(candidates: Sequence[Candidate]) -> str:
    """Return the name of the metric that the candidates were judged by."""
    return next((c.quality.metric for c in candidates if c.quality and c.quality.metric), "score")


def clean(text: str) -> str:
    """Drop control characters: a model's name must not move the reader's cursor or break a table."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
