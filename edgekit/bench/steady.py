"""Whether a model is warm: its latencies have stopped changing.

Standard library only, because the measuring process imports it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

WINDOWS = 5
WINDOW_NS = 50_000_000
TOLERANCE = 0.02


def is_steady(medians_ns: Sequence[float], windows: int = WINDOWS, tolerance: float = TOLERANCE) -> bool:
    """Return whether the last `windows` windows' medians have a coefficient of variation of at most `tolerance`.

    The criterion of Georges, Buytaert and Eeckhout, "Statistically Rigorous Java Performance Evaluation" (OOPSLA 2007,
    section 3.3: a coefficient of variation of 1 to 2 % over the last iterations), taken over medians of 50 ms windows
    instead of single runs so that one interrupt does not restart the warm-up. A window has at least one inference, so a
    model that takes seconds needs five of them.
    """
    last = medians_ns[-windows:]
    if len(last) < windows:
        return False
    return statistics.stdev(last) <= tolerance * statistics.fmean(last)
