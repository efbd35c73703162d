"""Whether the numbers of a report were taken on a quiet machine, in words."""

from __future__ import annotations

from edgekit.report.figures import clean
from edgekit.result.measurement import Measurement
from edgekit.result.report import Report


def noise(measured: Measurement) -> str:
    """Return whether something else used the processor, and whether the times were steady."""
    found = measured.noise
    shares = [
        f"{words} {100 * value:.1f}%"
        for words, value in (
            ("other processes took", found.foreign_cpu_share),
            ("the hypervisor took", found.steal_share),
            ("rounds spread", found.round_spread),
        )
        if value is not None
    ]
    seen = f" ({', '.join(shares)})" if shares else ""
    words = "NOISY: " + ("; ".join(map(clean, found.reasons)) or f"the processor was shared{seen}")
    return (words if found.noisy else f"quiet{seen}") + ("" if measured.converged else "; NOT steady when it ended")


def noises(report: Report) -> tuple[tuple[str, bool], ...]:
    """Say the noise of the shipped candidate, or the first, in full; of the others those that met any, several by name
    only: what disturbs one run disturbs most of it.
    """
    measured = [(candidate, candidate.measurement) for candidate in report.candidates if candidate.measurement]
    measured.sort(key=lambda pair: pair[0] is not report.shipped)
    if not measured:
        return ()
    (subject, first), *others = measured
    lines = [(f"{clean(subject.name)}: {noise(first)}", first.noise.noisy)]
    touched = [(candidate, found) for candidate, found in others if found.noise.noisy or not found.converged]
    if len(touched) == 1:
        ((other, found),) = touched
        return (*lines, (f"{clean(other.name)}: {noise(found)}", found.noise.noisy))
    noisy = [clean(candidate.name) for candidate, found in others if found.noise.noisy]
    moving = [clean(candidate.name) for candidate, found in others if not found.converged]
    if noisy:
        lines.append((f"NOISY too: {', '.join(noisy)}", True))
    if moving:
        lines.append((f"NOT steady when it ended: {', '.join(moving)}", True))
    return tuple(lines)
