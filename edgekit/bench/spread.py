"""Sum up single latencies into the turns that a report keeps.

A file of raw latencies is large and stays with its bundle. These few numbers travel in the report, so that two reports
can be held against each other with the noise between and within turns known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from edgekit.bench.outcome import Round
from edgekit.turn import SHARES, Turn

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


def turns(latencies_ns: np.ndarray, rounds: Sequence[Round], every: int) -> tuple[Turn, ...]:
    """Sum up the rounds, `every` cycles in one; the same for all models of a run, so that their turns are pairs."""
    ends = list(accumulate(one.count for one in rounds))
    groups: dict[int, list[int]] = {}
    for place, one in enumerate(rounds):
        groups.setdefault(one.cycle // every, []).append(place)
    return tuple(
        Turn(
            cycle=group,
            count=sum(rounds[place].count for place in places),
            seconds=round(sum(rounds[place].seconds for place in places), 6),
            latencies_ms=spread_ms(latencies_ns[ends[places[0]] - rounds[places[0]].count : ends[places[-1]]]),
        )
        for group, places in groups.items()
    )


def spread_ms(latencies_ns: np.ndarray) -> tuple[float, ...]:
    """Give all latencies where there are no more than shares, else the one in the middle of each share; ascending."""
    import numpy as np

    ordered = np.sort(latencies_ns) / 1e6
    if len(ordered) > len(SHARES):
        middles = np.cumsum(SHARES) - np.array(SHARES) / 2
        ordered = ordered[np.minimum(len(ordered) - 1, (middles * len(ordered)).astype(int))]
    return tuple(float(f"{value:.5g}") for value in ordered)
