"""Summarise single latencies into the blocks that a report keeps.

A file of raw latencies is large and stays with its bundle. These few numbers are stored in the report, so that two
reports can be compared with the noise between blocks and within them known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from edgekit.bench.outcome import Round
from edgekit.result.latency_block import SHARES, LatencyBlock

if TYPE_CHECKING:
    import numpy as np

MOST_BLOCKS = 40
"""Blocks that a report keeps; in a longer run a block has several consecutive cycles."""


def cycles_per_block(cycles: int) -> int:
    """Return how many cycles make a block so that there are at most `MOST_BLOCKS`: a power of 2."""
    size = 1
    while -(-cycles // size) > MOST_BLOCKS:
        size *= 2
    return size


def blocks(
    latencies_ns: np.ndarray, rounds: Sequence[Round], cycles: int, *, per_round: bool = False
) -> tuple[LatencyBlock, ...]:
    """Return the rounds as blocks of `cycles` cycles; with the same number for all models of a run, they are pairs.

    With `per_round` the median and the 90th percentile of each round are kept as well: they are pairs too.
    """
    import numpy as np

    ends = list(accumulate(timed.count for timed in rounds))
    members: dict[int, list[int]] = {}
    for index, timed in enumerate(rounds):
        members.setdefault(timed.cycle // cycles, []).append(index)
    summaries = []
    for number, indexes in members.items():
        parts = [latencies_ns[ends[index] - rounds[index].count : ends[index]] for index in indexes]
        ordered = [np.sort(part) for part in parts] if per_round else []
        summaries.append(
            LatencyBlock(
                cycle=number,
                count=sum(map(len, parts)),
                seconds=round(sum(rounds[index].seconds for index in indexes), 6),
                latencies_ms=quantiles_ms(latencies_ns[ends[indexes[0]] - len(parts[0]) : ends[indexes[-1]]]),
                p50_ms=tuple(_percentile_ms(part, 0.5) for part in ordered),
                p90_ms=tuple(_percentile_ms(part, 0.9) for part in ordered),
            )
        )
    return tuple(summaries)


def _percentile_ms(ordered_ns: np.ndarray, share: float) -> float:
    """Return a percentile of few latencies, which are ascending, interpolated between two of them."""
    position = share * (len(ordered_ns) - 1)
    low = int(position)
    high = min(low + 1, len(ordered_ns) - 1)
    value = ordered_ns[low] + (position - low) * (ordered_ns[high] - ordered_ns[low])
    return float(f"{value / 1e6:.5g}")


def quantiles_ms(latencies_ns: np.ndarray) -> tuple[float, ...]:
    """Return the latencies in ascending order; of more than there are shares, the one in the middle of each share."""
    import numpy as np

    ordered = np.sort(latencies_ns) / 1e6
    if len(ordered) > len(SHARES):
        middles = np.cumsum(SHARES) - np.array(SHARES) / 2
        ordered = ordered[np.minimum(len(ordered) - 1, (middles * len(ordered)).astype(int))]
    return tuple(float(f"{value:.5g}") for value in ordered)
