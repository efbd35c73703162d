"""What is best among the candidates that pass: the fastest, the one with most samples per second, the smallest, or the
one that needs least memory; and why, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit import bench
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.project import Objective

TIE = 0.02
"""Two candidates closer than this are equally good for a person: the tie is broken by what is asked for next."""

WIDEST_TIE = 0.10
"""However noisy the machine, a difference beyond this is taken as one: else a bad hour would ship the slow
candidate.
"""


@dataclass(frozen=True)
class Goal:
    """What an objective asks for."""

    cost: Callable[[BuiltCandidate], float | None]
    """Less is better; None where it was not measured."""
    timed: bool
    """Whether the cost is a time, whose noise the rounds tell."""
    best: str
    cost_of: str
    """What the cost is, before the name of the candidate that has it."""
    ties: str
    """What a candidate is that is as good as the shipped one, before that one's name."""


GOALS: dict[Objective, Goal] = {
    "latency": Goal(lambda t: t.p50_ms, True, "the fastest", "the time of", "as fast as"),
    "throughput": Goal(
        lambda t: None if t.measurement is None else 1e3 / t.measurement.throughput_per_s,
        True,
        "the most samples per second",
        "the time per sample of",
        "as many samples per second as",
    ),
    "size": Goal(lambda t: t.compiled.size_mb, False, "the smallest", "the size of", "as small as"),
    "memory": Goal(
        lambda t: None if t.measurement is None else t.measurement.peak_memory_mb,
        False,
        "the least memory",
        "the memory of",
        "as little memory as",
    ),
}


def measured(passing: Sequence[BuiltCandidate], objective: Objective) -> list[BuiltCandidate]:
    """Return those whose cost was measured."""
    return [t for t in passing if GOALS[objective].cost(t) is not None]


def best(passing: Sequence[BuiltCandidate], objective: Objective) -> BuiltCandidate:
    """Return the best of those that `measured` gives, at least one.

    Of those that are as good as it within the noise the most faithful is taken where times were compared, and the
    fastest elsewhere.
    """
    goal = GOALS[objective]
    first = min(passing, key=lambda t: _cost(t, goal))
    ties = [t for t in passing if t is first or tied(t, first, objective)]
    if not goal.timed and (timed := measured(ties, "latency")):
        return best(timed, "latency")
    return min(ties, key=lambda t: (max(t.quality.drop or 0.0, 0.0), t.quality.rel_l2))


def tied(t: BuiltCandidate, first: BuiltCandidate, objective: Objective) -> bool:
    """Return whether `t` is as good as `first` within the noise."""
    goal = GOALS[objective]
    ratio = _cost(t, goal) / (_cost(first, goal) or 1.0)
    if not goal.timed or ratio > 1 + WIDEST_TIE:
        return ratio <= 1 + TIE
    assert t.outcome is not None and first.outcome is not None
    return ratio <= 1 + TIE or bench.faster(first.outcome, t.outcome).verdict != "faster"


def beaten_by(t: BuiltCandidate, others: Sequence[BuiltCandidate], objective: Objective) -> BuiltCandidate | None:
    """Return the first of the others that is better than `t` beyond the noise."""
    goal = GOALS[objective]
    better = [other for other in others if _cost(other, goal) < _cost(t, goal) and not tied(t, other, objective)]
    return better[0] if better else None


def why_shipped(
    t: BuiltCandidate, passing: Sequence[BuiltCandidate], objective: Objective, beside: Sequence[BuiltCandidate] = ()
) -> str:
    """Return why `t` is the best of `passing`, of which the cost of each is known, and what that costs in time.

    Those `beside` were measured for comparison.
    """
    goal = GOALS[objective]
    less = [other for other in passing if other is not t and _cost(other, goal) < _cost(t, goal)]
    if less:
        next_ = "closer to the original" if goal.timed or t.p50_ms is None else "faster"
        why = f"{goal.ties} {less[0].planned.name} within {'the noise' if goal.timed else f'{TIE:.0%}'}, and {next_}"
    else:
        why = f"{goal.best} that passes" if objective in ("latency", "size") else f"{goal.best} of those that pass"
        why = why if len(passing) > 1 else "the only one that passes"
    return why + _price(t, [*passing, *beside], goal)


def why_lost(t: BuiltCandidate, winner: BuiltCandidate, objective: Objective) -> str:
    """Return why `winner` was shipped and not `t`."""
    goal, name = GOALS[objective], winner.planned.name
    mine, best_cost = goal.cost(t), goal.cost(winner)
    if mine is None or best_cost is None:
        return f"{name} comes first in the target's order"
    ratio = mine / best_cost if best_cost else 1.0
    if goal.timed:
        return f"{ratio:.2f}x {goal.cost_of} {name}" if ratio >= 1 else "as fast within the noise, less faithful"
    time = ""
    if t.p50_ms is not None and winner.p50_ms:
        time = f", {t.p50_ms / winner.p50_ms:.2f}x its time"
    return f"{ratio:.2f}x {goal.cost_of} {name}{time}"


def _price(t: BuiltCandidate, passing: Sequence[BuiltCandidate], goal: Goal) -> str:
    """Return how much slower than the fastest that passes the one is that was asked for by another measure."""
    timed = measured(passing, "latency")
    if goal.timed or t.p50_ms is None:
        return ""
    fastest = best(timed, "latency")
    if fastest is t or tied(t, fastest, "latency"):
        return ""
    return f"; {(t.p50_ms or 0.0) / (fastest.p50_ms or 1.0):.2f}x the time of {fastest.planned.name}, the fastest"


def _cost(t: BuiltCandidate, goal: Goal) -> float:
    cost = goal.cost(t)
    assert cost is not None, "only those of `measured` are compared"
    return cost
