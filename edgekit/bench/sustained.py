"""A run of minutes: its windows, its first and its last minute, and whether the machine slowed down."""

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
"""The windows of a run, each of at least a second."""

COMPARED_S = 60.0
"""The length that is compared at either end; a third of a run of less than three minutes."""

SLOWER = 1.05
"""The slowdown that is reported; the room's temperature and other programs cause smaller ones."""

FELL = 0.95
"""The share of its first value below which a clock has fallen."""


def summarise(rounds: Sequence[Round], latencies_ns: np.ndarray, sampler: Sampler | None) -> Sustained:
    """Return a run divided into windows of complete rounds, and the medians of its ends."""
    import numpy as np

    start, end = rounds[0].began_s, rounds[-1].began_s + rounds[-1].seconds
    first, last = ends(rounds)
    parts = np.split(latencies_ns, np.cumsum([timed.count for timed in rounds])[:-1])
    windows, members = [], []
    length_s = max(1.0, (end - start) / WINDOWS)
    for index, timed in enumerate(rounds):
        members.append(index)
        ended_s = timed.began_s + timed.seconds
        if ended_s - rounds[members[0]].began_s >= length_s or timed is rounds[-1]:
            region = (rounds[members[0]].began_s, ended_s)
            latencies = np.concatenate([parts[member] for member in members])
            windows.append(
                Window(
                    start_s=region[0] - start,
                    seconds=region[1] - region[0],
                    count=len(latencies),
                    p50_ms=float(np.median(latencies)) / 1e6,
                    clock_mhz=sampler.mean("clock", region, "policy") if sampler else None,
                    temperature_c=sampler.mean("temperature", region) if sampler else None,
                    power_w=sampler.power_w(region) if sampler else None,
                )
            )
            members = []
    medians = [float(np.median(np.concatenate([parts[index] for index in chosen]))) / 1e6 for chosen in (first, last)]
    return Sustained(tuple(windows), _compared_s(rounds), *medians)


def ends(rounds: Sequence[Round]) -> tuple[list[int], list[int]]:
    """Return the indexes of the rounds of the first timed minute and of the last (thirds of a shorter run)."""
    ends_s = list(accumulate(timed.seconds for timed in rounds))
    length_s = _compared_s(rounds)
    first = [index for index, timed in enumerate(rounds) if ends_s[index] - timed.seconds < length_s]
    last = [index for index, end_s in enumerate(ends_s) if end_s > ends_s[-1] - length_s]
    return first, last


def judge(sustained: Sustained, rounds: Sequence[Round], throttle: Throttle | None) -> Throttle:
    """Return the verdict of the sensors, `throttle`, extended by that of the latencies.

    The run slowed when the last minute's median is 5 % above the first's, and three quarters of the last minute's
    rounds are slower than three quarters of the first's: a short disturbance does not count.
    """
    import numpy as np

    throttle = throttle or Throttle("unknown", ("no sensor was read",))
    first, last = ([rounds[index].median_ns for index in chosen] for chosen in ends(rounds))
    slowed = sustained.slowdown >= SLOWER and np.percentile(last, 25) > np.percentile(first, 75)
    change = (
        f"p50 {sustained.first_p50_ms:.3g} ms in the first {sustained.compared_s:.0f} s, "
        f"{sustained.last_p50_ms:.3g} ms in the last ({sustained.slowdown:.2f} times)"
    )
    if not slowed:
        return replace(throttle, reasons=(*throttle.reasons, change))
    clocks = [window.clock_mhz for window in sustained.windows if window.clock_mhz is not None]
    fell = len(clocks) > 1 and clocks[-1] < FELL * clocks[0]
    if fell:
        change += f"; the clock fell from {clocks[0]:.0f} to {clocks[-1]:.0f} MHz"
    elif clocks:
        change += f"; the clock did not fall ({clocks[0]:.0f} and {clocks[-1]:.0f} MHz)"
    throttled = fell or throttle.verdict == "throttled"
    return Throttle("throttled" if throttled else "slowed", (change, *throttle.reasons))


def _compared_s(rounds: Sequence[Round]) -> float:
    return min(COMPARED_S, sum(timed.seconds for timed in rounds) / 3)
