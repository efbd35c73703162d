"""Whether the machine was quiet while the numbers of a report were measured, in words."""

from __future__ import annotations

from edgekit.report.figures import clean
from edgekit.result.measurement import Measurement
from edgekit.result.report import Report


def describe(measured: Measurement) -> str:
    """Return whether other work used the processor, and whether the times became steady."""
    noise = measured.noise
    shares = [
        f"{words} {100 * value:.1f}%"
        for words, value in (
            ("other processes took", noise.foreign_cpu_share),
            ("the hypervisor took", noise.steal_share),
            ("rounds spread", noise.round_spread),
        )
        if value is not None
    ]
    seen = f" ({', '.join(shares)})" if shares else ""
    words = "NOISY: " + ("; ".join(map(clean, noise.reasons)) or f"the processor was shared{seen}")
    return (words if noise.noisy else f"quiet{seen}") + ("" if measured.converged else "; NOT steady when it ended")


def describe_all(report: Report) -> tuple[tuple[str, bool], ...]:
    """Return (words, whether noisy): the shipped candidate, or the first, in full; of the others only the noisy ones,
    and several of them by name only, because what disturbs one run disturbs most of its candidates.
    """
    measured = [(candidate, candidate.measurement) for candidate in report.candidates if candidate.measurement]
    measured.sort(key=lambda pair: pair[0] is not report.shipped)
    if not measured:
        return ()
    (subject, first), *others = measured
    lines = [(f"{clean(subject.name)}: {describe(first)}", first.noise.noisy)]
    disturbed = [(candidate, run) for candidate, run in others if run.noise.noisy or not run.converged]
    if len(disturbed) == 1:
        ((other, run),) = disturbed
        return (*lines, (f"{clean(other.name)}: {describe(run)}", run.noise.noisy))
    noisy = [clean(candidate.name) for candidate, run in others if run.noise.noisy]
    moving = [clean(candidate.name) for candidate, run in others if not run.converged]
    if noisy:
        lines.append((f"Also NOISY: {', '.join(noisy)}", True))
    if moving:
        lines.append((f"NOT steady when it ended: {', '.join(moving)}", True))
    return tuple(lines)
