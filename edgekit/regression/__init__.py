"""The regression gate: verdicts on values that may have got worse, given their noise; baselines; and output for build
pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit.regression.baseline import baseline
from edgekit.regression.gate import Verdict, judge
from edgekit.report.compare import Comparison

__all__ = ["JudgedComparison", "Verdict", "baseline", "judge"]


@dataclass(frozen=True)
class JudgedComparison(Record):
    """A comparison and the verdicts of the gate on it."""

    comparison: Comparison
    verdicts: tuple[Verdict, ...]
