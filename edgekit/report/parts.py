"""The parts of a model of several graphs, in words."""

from __future__ import annotations

from edgekit.report import figures
from edgekit.result.report import Candidate


def words(candidate: Candidate) -> str:
    """Return the size, the precision and the time of each part; empty for a model of one."""
    precision, measured = figures.effective(candidate), candidate.measurement
    times = {each.part: each for each in measured.parts} if measured else {}
    described = []
    for name, size in candidate.part_sizes_mb.items():
        facts = [figures.mb(size)]
        if precision is not None and name in precision.parts:
            facts.append(precision.parts[name])
        if name in times:
            count = times[name].calls
            facts.append(f"{count} {'call' if count == 1 else 'calls'} in {figures.ms(times[name].time_ms)}")
        described.append(f"{figures.clean(name)} {', '.join(facts)}")
    return "; ".join(described)
