"""Measure bundles anew to hold them against each other: by turns in one run, so that the machine's moods meet all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.bundle import bundle, verify
from edgekit.errors import UsageError
from edgekit.progress import Progress
from edgekit.report.compare import Side, sides

ROUND_MS = 5.0
"""Short turns: the sooner the other bundle has its own, the more of what moves the machine meets both. On a shared
machine the ratio of two equal bundles is ten times steadier with turns of 5 ms than with 50 ms.
"""

MOST_TURNS = 400


def rerun(paths: Sequence[str | Path], *, seconds: float = 5.0, progress: Progress | None = None) -> tuple[Side, ...]:
    """Measure the bundles by turns and give them as sides, the last as the baseline, first.

    Their scores are those of their own reports, where all were found on the same samples. Raises UsageError for fewer
    than two bundles.
    """
    if len(paths) < 2:
        raise UsageError("a comparison needs two or more bundles.", hint="edgekit compare --run NEW... BASELINE")
    report = verify.benchmark(
        paths, seconds=seconds, round_ms=max(ROUND_MS, 1e3 * seconds / MOST_TURNS), progress=progress
    )
    exported = [bundle.open(path).report() for path in paths]
    alike = len({one.data.evaluation_digest for one in exported}) == 1
    candidates = tuple(
        replace(candidate, quality=one.shipped.quality if alike and one.shipped else None)
        for candidate, one in zip(report.candidates, exported, strict=True)
    )
    return sides([("this run", replace(report, candidates=candidates))])
