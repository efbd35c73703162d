"""The gate on regressions: verdicts on what got worse, the noise known; baselines; and words for build pipelines."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit.regression.baseline import baseline
from edgekit.regression.gate import Verdict, judge
from edgekit.report.compare import Comparison

__all__ = ["Judged", "Verdict", "baseline", "judge"]


@dataclass(frozen=True)
class Judged(Record):
    """A comparison, and what the gate says of it."""

    comparison: Comparison
    verdicts: tuple[Verdict, ...]
