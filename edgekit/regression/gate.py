"""The gate on regressions: for each value that was asked for, whether it got worse by more than is allowed.

It says that it cannot tell rather than guess, and what it would take to tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit._record import Record
from edgekit.bench.percentile import PER_MILLE, least_count
from edgekit.errors import UsageError, nearest
from edgekit.regression import comparability
from edgekit.regression.bootstrap import CONFIDENCE, LEAST_TURNS, Interval, apart, together
from edgekit.regression.latencies import Latencies, latencies
from edgekit.report.compare import Side, values

LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "mean")
TIMED = (*LATENCIES, "throughput", "energy", "cold-start")
PLAIN = ("size", "memory", "score", "drop")
ALIASES = {"accuracy": "score", "metric": "score", "cold_start": "cold-start"}
MORE_IS_BETTER = ("throughput", "score")

SURE = 1.5
"""The range must be this much narrower than the distance to the limit for nine runs in ten to tell: the estimate itself
moves too, by the normal's 1.28 standard deviations beside the 2.58 of the range.
"""

FAR = 100
"""So many times the samples are more than anybody measures: the difference is said to lie at the limit."""

Word = Literal["regressed", "not regressed", "cannot tell"]


@dataclass(frozen=True)
class Verdict(Record):
    """What the gate says of one value of one result."""

    source: str
    value: str
    verdict: Word
    allowed: float
    """Share of the baseline's value; of a drop, and of a value whose baseline is 0, the value's own unit."""
    new: float | None = None
    old: float | None = None
    worse: float | None = None
    """By which share it is worse than the baseline; negative is better."""
    low: float | None = None
    high: float | None = None
    """Each is passed by the true share with a chance of 0.5 %; None for a value that is no sample of times."""
    how: str = ""
    """`in one run, by turns`, `in two runs`, or empty for a value that is no sample of times."""
    count: int = 0
    """Inferences on the side that has fewer."""
    more: int | None = None
    """So many more inferences on each side would tell; None where that is not known, or none would."""
    reason: str = ""


def judge(sides: Sequence[Side], limits: Mapping[str, float], *, seed: int = 0) -> tuple[Verdict, ...]:
    """Hold each result against the baseline, the first of `sides`; a limit is the share by which a value may be worse.

    Raises UsageError for a value that is unknown or that a side has not, and for times that must not be compared:
    those of an emulator, of another machine, of another scenario or of other shapes.
    """
    base, *others = sides
    found = []
    for name, allowed in limits.items():
        name = ALIASES.get(name, name)
        known = (*TIMED, *PLAIN)
        if name not in known:
            raise UsageError(f"there is no value '{name}'.{nearest(name, known)}", hint=f"known: {', '.join(known)}")
        for one in others:
            found.append(_timed(one, base, name, allowed, seed) if name in TIMED else _plain(one, base, name, allowed))
    return tuple(found)


def _plain(one: Side, base: Side, name: str, allowed: float) -> Verdict:
    """Judge a value that is the same each time it is looked at, or nearly."""
    new, old = _needed(one, name), _needed(base, name)
    if name in ("score", "drop"):
        comparability.require_same_data(one, base, name)
    worse = old - new if name in MORE_IS_BETTER else new - old
    share = worse if name == "drop" or not old else worse / abs(old)
    word: Word = "regressed" if share > allowed + 1e-12 else "not regressed"
    return Verdict(one.source, name, word, allowed, new, old, share)


def _timed(one: Side, base: Side, name: str, allowed: float, seed: int) -> Verdict:
    comparability.require_comparable(one, base)
    if name in PER_MILLE:
        for side in (one, base):
            measured = side.candidate.measurement
            least = least_count(PER_MILLE[name] / 1000)
            if measured is not None and measured.count < least:
                more = least - measured.count
                reason = f"'{side.source}' has {measured.count} inferences, and a {name} needs {least}"
                return _unknown(one, name, allowed, reason, measured.count, more)
    new, old = _needed(one, name), _needed(base, name)
    if name == "cold-start":
        return _start(one, name, allowed, new, old)
    pair = _latencies(one), _latencies(base)
    if pair[0] is None or pair[1] is None:
        lacking = one if pair[0] is None else base
        return _unknown(one, name, allowed, f"'{lacking.source}' keeps no single latencies: measure it again")
    how = "in one run, by turns" if one.report is base.report else "in two runs"
    judged = "mean" if name == "energy" else name
    if one.report is base.report and one.candidate.measurement and base.candidate.measurement:
        interval = together(one.candidate.measurement, base.candidate.measurement, judged, seed)
    else:
        interval = apart(pair[0], pair[1], judged, seed)
    count = min(pair[0].count, pair[1].count)
    if interval is None:
        turns = min(pair[0].size, pair[1].size)
        more = math.ceil(count * (LEAST_TURNS - turns) / max(1, turns))
        reason = f"{turns} turns are too few to see the noise, {LEAST_TURNS} are needed"
        return _unknown(one, name, allowed, reason, count, max(1, more))
    if name == "energy":  # power times time: it is known no better than the time is
        interval = _scaled(interval, new / old)
    return _judged(one, name, allowed, (new, old), interval, count, how)


def _judged(
    one: Side, name: str, allowed: float, values: tuple[float, float], found: Interval, count: int, how: str
) -> Verdict:
    ratio, low, high = found.ratio, found.low, found.high
    if name in MORE_IS_BETTER:
        worse, low, high = 1 - ratio, 1 - high, 1 - low
    else:
        worse, low, high = ratio - 1, low - 1, high - 1
    word: Word = "regressed" if low > allowed else "not regressed" if high <= allowed else "cannot tell"
    more, reason = None, ""
    if word == "cannot tell":
        more, reason = _more(worse, low if worse > allowed else high, allowed, found, count)
    return Verdict(one.source, name, word, allowed, *values, worse, low, high, how, count, more, reason)


def _more(worse: float, end: float, allowed: float, found: Interval, count: int) -> tuple[int | None, str]:
    """Return how many more inferences would tell, from the interval's width, which falls with the root of their number.

    What the machine drifts from run to run does not fall with it.
    """
    distance, half = abs(worse - allowed), abs(end - worse)
    if found.drift > distance:
        return None, "the machine moves by more than the difference from one run to another: measure both in one run"
    sampling = math.sqrt(max(0.0, half**2 - found.drift**2))
    times = (SURE * sampling) ** 2 / max(distance**2 - found.drift**2, 1e-12)
    if times > FAR:
        why = "the difference lies at the limit, or the machine is too noisy"
        return None, f"more than {FAR} times the inferences would be needed: {why}"
    more = max(1, math.ceil(count * max(0.05, times - 1)))
    step = 10 ** max(0, len(str(more)) - 2)
    return -(-more // step) * step, ""


def _start(one: Side, name: str, allowed: float, new: float, old: float) -> Verdict:
    worse = new / old - 1
    if worse <= allowed:
        return Verdict(one.source, name, "not regressed", allowed, new, old, worse, reason="one start on each side")
    reason = "one start on each side, and how much starts differ is not known"
    return Verdict(one.source, name, "cannot tell", allowed, new, old, worse, reason=reason)


def _unknown(
    one: Side, name: str, allowed: float, reason: str, count: int = 0, more: int | None = None
) -> Verdict:  # fmt: skip
    return Verdict(one.source, name, "cannot tell", allowed, count=count, more=more, reason=reason)


def _scaled(found: Interval, ratio: float) -> Interval:
    factor = ratio / found.ratio
    return Interval(ratio, found.low * factor, found.high * factor, found.turns, found.drift)


def _latencies(side: Side) -> Latencies | None:
    return latencies(side.candidate.measurement, side.folder) if side.candidate.measurement else None


def _needed(side: Side, name: str) -> float:
    found = values(side.candidate).get(name)
    if found is None:
        raise UsageError(
            f"'{side.source}' has no {name} to compare.",
            hint="measure it with `edgekit bench`, or leave this value out",
        )
    return found


__all__ = ["CONFIDENCE", "Verdict", "judge"]
