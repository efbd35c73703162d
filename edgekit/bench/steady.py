"""When a model is warm: latencies have stopped changing. Standard library only, because the measuring process imports
it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

WINDOWS = 5
WINDOW_NS = 50_000_000
TOLERANCE = 0.02


def is_steady(medians_ns: Sequence[float], windows: int = WINDOWS, tolerance: float = TOLERANCE) -> bool:
    """Say whether the last `windows` windows' medians agree: their coefficient of variation is at most `tolerance`.

    The criterion of Georges, Buytaert and Eeckhout, "Statistically Rigorous Java Performance Evaluation" (OOPSLA 2007,
    section 3.3: a coefficient of variation of 1 to 2 % over the last iterations), taken over medians of 50 ms windows
    instead of single runs so that one interrupt does not restart the warm-up. A window holds at least one inference, so
    a model of seconds needs five of them.
    """
    last = medians_ns[-windows:]
    if len(last) < windows:
        return False
    return statistics.stdev(last) <= tolerance * statistics.fmean(last)
