"""The regression gate: for each requested value, whether it got worse by more than is allowed.

Where the noise is too large for a verdict it says so, and what a verdict would take, rather than guess.
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
from edgekit.regression.bootstrap import CONFIDENCE, LEAST_BLOCKS, Interval, of_one_run, of_two_runs
from edgekit.regression.latencies import Latencies, latencies
from edgekit.report.compare import Side, values

LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "mean")
TIMED = (*LATENCIES, "throughput", "energy", "cold-start")
EXACT = ("size", "memory", "score", "drop")
ALIASES = {"accuracy": "score", "metric": "score", "cold_start": "cold-start"}
MORE_IS_BETTER = ("throughput", "score")

MARGIN = 1.5
"""How much narrower than the distance to the limit the interval must be for a verdict in nine runs of ten: the estimate
itself varies too, by the normal's 1.28 standard deviations besides the 2.58 of the interval.
"""

MOST_TIMES = 100
"""Nobody measures more than this many times the samples: beyond it the difference is reported to be at the limit."""

ONE_RUN, TWO_RUNS = "interleaved in one run", "in two runs"
"""How the two sides were measured."""

Outcome = Literal["regressed", "not regressed", "cannot tell"]


@dataclass(frozen=True)
class Verdict(Record):
    """The gate's verdict on one value of one result."""

    source: str
    value: str
    verdict: Outcome
    allowed: float
    """Share of the baseline's value; of a drop, and of a value whose baseline is 0, the value's own unit."""
    new: float | None = None
    old: float | None = None
    worse: float | None = None
    """The share by which it is worse than the baseline; negative is better."""
    low: float | None = None
    high: float | None = None
    """The true share is beyond each with a chance of 0.5 %; None for a value that is not computed from many times."""
    how: str = ""
    """`ONE_RUN`, `TWO_RUNS`, or empty for a value that is not computed from many times."""
    count: int = 0
    """Inferences on the side that has fewer."""
    more: int | None = None
    """How many more inferences on each side would give a verdict; None where that is not known, or none would."""
    reason: str = ""


def judge(sides: Sequence[Side], limits: Mapping[str, float], *, seed: int = 0) -> tuple[Verdict, ...]:
    """Compare each result with the baseline, the first of `sides`; a limit is the share by which a value may be worse.

    Raises UsageError for a value that is unknown or that a side lacks, and for times that cannot be compared:
    those of an emulator, of another machine, of another scenario or of other shapes.
    """
    base, *others = sides
    verdicts = []
    for name, allowed in limits.items():
        name = ALIASES.get(name, name)
        known = (*TIMED, *EXACT)
        if name not in known:
            raise UsageError(f"unknown value '{name}'.{nearest(name, known)}", hint=f"known: {', '.join(known)}")
        for side in others:
            verdicts.append(
                _judge_timed(side, base, name, allowed, seed)
                if name in TIMED
                else _judge_exact(side, base, name, allowed)
            )
    return tuple(verdicts)


def _judge_exact(side: Side, base: Side, name: str, allowed: float) -> Verdict:
    """Judge a value that is the same, or nearly the same, each time it is measured."""
    new, old = _required(side, name), _required(base, name)
    if name in ("score", "drop"):
        comparability.require_same_data(side, base, name)
    worse = old - new if name in MORE_IS_BETTER else new - old
    share = worse if name == "drop" or not old else worse / abs(old)
    outcome: Outcome = "regressed" if share > allowed + 1e-12 else "not regressed"
    return Verdict(side.source, name, outcome, allowed, new, old, share)


def _judge_timed(side: Side, base: Side, name: str, allowed: float, seed: int) -> Verdict:
    comparability.require_comparable(side, base)
    if name in PER_MILLE:
        for counted in (side, base):
            measured = counted.candidate.measurement
            least = least_count(PER_MILLE[name] / 1000)
            if measured is not None and measured.count < least:
                more = least - measured.count
                reason = f"'{counted.source}' has {measured.count} inferences, and a {name} needs {least}"
                return _cannot_tell(side, name, allowed, reason, measured.count, more)
    new, old = _required(side, name), _required(base, name)
    if name == "cold-start":
        return _judge_start(side, name, allowed, new, old)
    ours, theirs = _latencies(side), _latencies(base)
    if ours is None or theirs is None:
        lacking = side if ours is None else base
        return _cannot_tell(side, name, allowed, f"'{lacking.source}' keeps no single latencies: measure it again")
    how = ONE_RUN if side.report is base.report else TWO_RUNS
    timed = "mean" if name == "energy" else name
    if side.report is base.report and side.candidate.measurement and base.candidate.measurement:
        interval = of_one_run(side.candidate.measurement, base.candidate.measurement, timed, seed)
    else:
        interval = of_two_runs(ours, theirs, timed, seed)
    count = min(ours.count, theirs.count)
    if interval is None:
        blocks = min(ours.size, theirs.size)
        more = math.ceil(count * (LEAST_BLOCKS - blocks) / max(1, blocks))
        reason = f"{blocks} blocks are too few to estimate the noise, {LEAST_BLOCKS} are needed"
        return _cannot_tell(side, name, allowed, reason, count, max(1, more))
    if name == "energy":  # power times time: its interval is as wide as that of the time
        interval = _scaled(interval, new / old)
    return _judge_interval(side, name, allowed, (new, old), interval, count, how)


def _judge_interval(
    side: Side, name: str, allowed: float, values: tuple[float, float], interval: Interval, count: int, how: str
) -> Verdict:
    ratio, low, high = interval.ratio, interval.low, interval.high
    if name in MORE_IS_BETTER:
        worse, low, high = 1 - ratio, 1 - high, 1 - low
    else:
        worse, low, high = ratio - 1, low - 1, high - 1
    outcome: Outcome = "regressed" if low > allowed else "not regressed" if high <= allowed else "cannot tell"
    more, reason = None, ""
    if outcome == "cannot tell":
        more, reason = _more_needed(worse, low if worse > allowed else high, allowed, interval, count)
    return Verdict(side.source, name, outcome, allowed, *values, worse, low, high, how, count, more, reason)


def _more_needed(worse: float, end: float, allowed: float, interval: Interval, count: int) -> tuple[int | None, str]:
    """Return how many more inferences would give a verdict, from the width of the interval, which falls with the root
    of their number, or None and the reason.

    The machine's drift from run to run does not fall with it.
    """
    distance, half = abs(worse - allowed), abs(end - worse)
    if interval.drift > distance:
        return None, "the machine drifts by more than the difference from run to run: measure both in one run"
    sampling = math.sqrt(max(0.0, half**2 - interval.drift**2))
    times = (MARGIN * sampling) ** 2 / max(distance**2 - interval.drift**2, 1e-12)
    if times > MOST_TIMES:
        why = "the difference is at the limit, or the machine is too noisy"
        return None, f"more than {MOST_TIMES} times the inferences would be needed: {why}"
    more = max(1, math.ceil(count * max(0.05, times - 1)))
    step = 10 ** max(0, len(str(more)) - 2)
    return -(-more // step) * step, ""


def _judge_start(side: Side, name: str, allowed: float, new: float, old: float) -> Verdict:
    worse = new / old - 1
    if worse <= allowed:
        return Verdict(
            side.source, name, "not regressed", allowed, new, old, worse, reason="one cold start on each side"
        )
    reason = "one cold start on each side, and the spread of cold starts is unknown"
    return Verdict(side.source, name, "cannot tell", allowed, new, old, worse, reason=reason)


def _cannot_tell(
    side: Side, name: str, allowed: float, reason: str, count: int = 0, more: int | None = None
) -> Verdict:
    return Verdict(side.source, name, "cannot tell", allowed, count=count, more=more, reason=reason)


def _scaled(interval: Interval, ratio: float) -> Interval:
    factor = ratio / interval.ratio
    return Interval(ratio, interval.low * factor, interval.high * factor, interval.blocks, interval.drift)


def _latencies(side: Side) -> Latencies | None:
    return latencies(side.candidate.measurement, side.folder) if side.candidate.measurement else None


def _required(side: Side, name: str) -> float:
    value = values(side.candidate).get(name)
    if value is None:
        raise UsageError(
            f"'{side.source}' has no {name} to compare.",
            hint="measure it with `edgekit bench`, or leave this value out",
        )
    return value


__all__ = ["CONFIDENCE", "Verdict", "judge"]
