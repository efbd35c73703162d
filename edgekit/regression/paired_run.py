"""Bundles measured again to compare them: interleaved in one run, so that machine noise affects all equally."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.bundle import bundle, verify
from edgekit.errors import UsageError
from edgekit.progress import Progress
from edgekit.report.compare import Side, sides

ROUND_MS = 5.0
"""Rounds are short: the sooner the other bundle runs, the more of the machine's changes affect both. On a shared
machine the ratio of two equal bundles is ten times steadier with rounds of 5 ms than of 50 ms.
"""

MOST_ROUNDS = 400


def measure(paths: Sequence[str | Path], *, seconds: float = 5.0, progress: Progress | None = None) -> tuple[Side, ...]:
    """Measure the bundles interleaved and return the sides of their comparison, the last bundle as the baseline, first.

    Their scores are those of their own reports, where all were computed on the same samples. Raises UsageError for
    fewer than two bundles.
    """
    if len(paths) < 2:
        raise UsageError("a comparison needs two or more bundles.", hint="edgekit compare --run NEW... BASELINE")
    report = verify.benchmark(
        paths, seconds=seconds, round_ms=max(ROUND_MS, 1e3 * seconds / MOST_ROUNDS), progress=progress
    )
    exports = [bundle.open(path).report() for path in paths]
    same_data = len({export.data.evaluation_digest for export in exports}) == 1
    candidates = tuple(
        replace(candidate, quality=export.shipped.quality if same_data and export.shipped else None)
        for candidate, export in zip(report.candidates, exports, strict=True)
    )
    return sides([("this run", replace(report, candidates=candidates))])
