"""Sum up single latencies into the turns that a report keeps.

A file of raw latencies is large and stays with its bundle. These few numbers travel in the report, so that two reports
can be held against each other with the noise between and within turns known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from edgekit.bench.outcome import Round
from edgekit.result.latency_block import SHARES, LatencyBlock

if TYPE_CHECKING:
    import numpy as np

MOST = 40
"""Turns that a report keeps; of a longer run some that followed each other are put together."""


def stride(cycles: int) -> int:
    """Give how many cycles are put together so that at most `MOST` turns are left: a power of 2."""
    found = 1
    while -(-cycles // found) > MOST:
        found *= 2
    return found


def turns(
    latencies_ns: np.ndarray, rounds: Sequence[Round], every: int, *, single: bool = False
) -> tuple[LatencyBlock, ...]:
    """Sum up the rounds, `every` cycles in one; the same for all models of a run, so that their turns are pairs.

    With `single` each round's own median and 90th percentile are kept as well: they are pairs too.
    """
    import numpy as np

    ends = list(accumulate(one.count for one in rounds))
    groups: dict[int, list[int]] = {}
    for place, one in enumerate(rounds):
        groups.setdefault(one.cycle // every, []).append(place)
    found = []
    for group, places in groups.items():
        parts = [latencies_ns[ends[place] - rounds[place].count : ends[place]] for place in places]
        ordered = [np.sort(part) for part in parts] if single else []
        found.append(
            LatencyBlock(
                cycle=group,
                count=sum(map(len, parts)),
                seconds=round(sum(rounds[place].seconds for place in places), 6),
                latencies_ms=spread_ms(latencies_ns[ends[places[0]] - len(parts[0]) : ends[places[-1]]]),
                p50_ms=tuple(_percentile_ms(part, 0.5) for part in ordered),
                p90_ms=tuple(_percentile_ms(part, 0.9) for part in ordered),
            )
        )
    return tuple(found)


def _percentile_ms(ordered_ns: np.ndarray, share: float) -> float:
    """Give a percentile of few latencies, ascending, between two where it falls there."""
    place = share * (len(ordered_ns) - 1)
    low = int(place)
    high = min(low + 1, len(ordered_ns) - 1)
    found = ordered_ns[low] + (place - low) * (ordered_ns[high] - ordered_ns[low])
    return float(f"{found / 1e6:.5g}")


def spread_ms(latencies_ns: np.ndarray) -> tuple[float, ...]:
    """Give all latencies where there are no more than shares, else the one in the middle of each share; ascending."""
    import numpy as np

    ordered = np.sort(latencies_ns) / 1e6
    if len(ordered) > len(SHARES):
        middles = np.cumsum(SHARES) - np.array(SHARES) / 2
        ordered = ordered[np.minimum(len(ordered) - 1, (middles * len(ordered)).astype(int))]
    return tuple(float(f"{value:.5g}") for value in ordered)
