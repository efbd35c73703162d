"""A run of minutes: its windows, its first minute against its last, and whether the machine slowed down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from edgekit.bench.outcome import Round
from edgekit.result.measurement import Sustained, Throttle, Window
from edgekit.sensors.sampler import Sampler

if TYPE_CHECKING:
    import numpy as np

WINDOWS = 60
"""Into so many a run is divided, of a second at least."""

COMPARED_S = 60.0
"""What is compared at either end; a third of a run of less than three minutes."""

SLOWER = 1.05
"""The slowdown from which on it is told; below, rooms and neighbours do as much."""

FELL = 0.95
"""The share of its first value below which a clock has fallen."""


def summarise(rounds: Sequence[Round], latencies_ns: np.ndarray, sampler: Sampler | None) -> Sustained:
    """Divide a run into windows of whole rounds, and compare its ends."""
    import numpy as np

    start, end = rounds[0].began_s, rounds[-1].began_s + rounds[-1].seconds
    first, last = ends(rounds)
    parts = np.split(latencies_ns, np.cumsum([one.count for one in rounds])[:-1])
    windows, members = [], []
    least = max(1.0, (end - start) / WINDOWS)
    for index, one in enumerate(rounds):
        members.append(index)
        closes = one.began_s + one.seconds
        if closes - rounds[members[0]].began_s >= least or one is rounds[-1]:
            region = (rounds[members[0]].began_s, closes)
            held = np.concatenate([parts[member] for member in members])
            windows.append(
                Window(
                    start_s=region[0] - start,
                    seconds=region[1] - region[0],
                    count=len(held),
                    p50_ms=float(np.median(held)) / 1e6,
                    clock_mhz=sampler.mean("clock", region, "policy") if sampler else None,
                    temperature_c=sampler.mean("temperature", region) if sampler else None,
                    power_w=sampler.power_w(region) if sampler else None,
                )
            )
            members = []
    medians = [float(np.median(np.concatenate([parts[index] for index in chosen]))) / 1e6 for chosen in (first, last)]
    return Sustained(tuple(windows), _compared_s(rounds), *medians)


def ends(rounds: Sequence[Round]) -> tuple[list[int], list[int]]:
    """Give the numbers of the rounds of the first timed minute and of the last (thirds of a shorter run)."""
    closes = list(accumulate(one.seconds for one in rounds))
    part = _compared_s(rounds)
    first = [index for index, one in enumerate(rounds) if closes[index] - one.seconds < part]
    last = [index for index, closed in enumerate(closes) if closed > closes[-1] - part]
    return first, last


def judge(found: Sustained, rounds: Sequence[Round], throttle: Throttle | None) -> Throttle:
    """Add what the latencies say to what the sensors say.

    It slowed when the last minute's median is 5 % above the first's, and three quarters of the last minute's rounds are
    slower than three quarters of the first's: so that a moment's disturbance is none.
    """
    import numpy as np

    throttle = throttle or Throttle("unknown", ("no sensor was read",))
    first, last = ([rounds[index].median_ns for index in chosen] for chosen in ends(rounds))
    slowed = found.slowdown >= SLOWER and np.percentile(last, 25) > np.percentile(first, 75)
    change = (
        f"p50 {found.first_p50_ms:.3g} ms in the first {found.compared_s:.0f} s, {found.last_p50_ms:.3g} ms in the "
        f"last ({found.slowdown:.2f} times)"
    )
    if not slowed:
        return replace(throttle, reasons=(*throttle.reasons, change))
    clocks = [one.clock_mhz for one in found.windows if one.clock_mhz is not None]
    fell = len(clocks) > 1 and clocks[-1] < FELL * clocks[0]
    if fell:
        change += f"; the clock fell from {clocks[0]:.0f} to {clocks[-1]:.0f} MHz"
    elif clocks:
        change += f"; the clock did not fall ({clocks[0]:.0f} and {clocks[-1]:.0f} MHz)"
    told = fell or throttle.verdict == "throttled"
    return Throttle("throttled" if told else "slowed", (change, *throttle.reasons))


def _compared_s(rounds: Sequence[Round]) -> float:
    return min(COMPARED_S, sum(one.seconds for one in rounds) / 3)
