"""The baseline file: the part of a report that the gate needs, small enough for version control.

It is itself a report, of one result, without layers, lineage and the other candidates, so that everything that reads a
report reads it.
"""

from __future__ import annotations

from dataclasses import replace

from edgekit.errors import UsageError
from edgekit.report.compare import Side
from edgekit.result.data_sources import DataSources
from edgekit.result.report import Candidate, Report


def baseline(side: Side) -> Report:
    """Return the baseline report of a result. Raises UsageError for one without times, which could not be compared."""
    measured = side.candidate.measurement
    if measured is None:
        raise UsageError(
            f"'{side.source}' was not measured: it cannot be a baseline.",
            hint=f"edgekit bench {side.source} --save-baseline",
        )
    old = side.candidate
    # The values of single rounds are used for pairs of one run only.
    blocks = tuple(replace(block, p50_ms=(), p90_ms=()) for block in measured.turns)
    candidate = Candidate(
        name=old.name,
        backend=old.backend,
        recipe=old.recipe,
        status=old.status,
        reason=old.reason,
        asked=old.asked,
        effective=old.effective,
        size_mb=old.size_mb,
        quality=replace(old.quality, notes=()) if old.quality else None,
        measurement=replace(measured, raw_file=None, turns=blocks),
    )
    old_data = side.report.data
    data = DataSources(old_data.evaluation, old_data.evaluation_samples, old_data.evaluation_digest)
    return replace(side.report, candidates=(candidate,), data=data, lineage=(), notes=(), failures=())
