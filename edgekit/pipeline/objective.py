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
    "latency": Goal(lambda candidate: candidate.p50_ms, True, "the fastest", "the time of", "as fast as"),
    "throughput": Goal(
        lambda candidate: None if candidate.measurement is None else 1e3 / candidate.measurement.throughput_per_s,
        True,
        "the most samples per second",
        "the time per sample of",
        "as many samples per second as",
    ),
    "size": Goal(lambda candidate: candidate.compiled.size_mb, False, "the smallest", "the size of", "as small as"),
    "memory": Goal(
        lambda candidate: None if candidate.measurement is None else candidate.measurement.peak_memory_mb,
        False,
        "the least memory",
        "the memory of",
        "as little memory as",
    ),
}


def measured(passing: Sequence[BuiltCandidate], objective: Objective) -> list[BuiltCandidate]:
    """Return those whose cost was measured."""
    return [candidate for candidate in passing if GOALS[objective].cost(candidate) is not None]


def best(passing: Sequence[BuiltCandidate], objective: Objective) -> BuiltCandidate:
    """Return the best of those that `measured` gives, at least one.

    Of those that are as good as it within the noise the most faithful is taken where times were compared, and the
    fastest elsewhere.
    """
    goal = GOALS[objective]
    first = min(passing, key=lambda candidate: _cost(candidate, goal))
    ties = [candidate for candidate in passing if candidate is first or tied(candidate, first, objective)]
    if not goal.timed and (timed := measured(ties, "latency")):
        return best(timed, "latency")
    return faithful(ties)


def expected_fastest(passing: Sequence[BuiltCandidate]) -> list[BuiltCandidate]:
    """Return, where nothing was measured, those that are as fast as the first in the target's order by what is known:
    of the same runtime in the same arithmetic, with as many layers left in float.
    """
    return [candidate for candidate in passing if _kind(candidate) == _kind(passing[0])]


def _kind(candidate: BuiltCandidate) -> tuple[str, str, int]:
    recipe = candidate.planned.recipe
    in_float = candidate.repair.layers_in_float if candidate.repair and candidate.quality.ok else 0
    return candidate.planned.backend, recipe.precision.partition("+")[0], in_float


def faithful(candidates: Sequence[BuiltCandidate]) -> BuiltCandidate:
    """Return the candidate that loses least: by the metric, then by how far its outputs are from the original's."""
    return min(candidates, key=lambda candidate: (max(candidate.quality.drop or 0.0, 0.0), candidate.quality.rel_l2))


def tied(candidate: BuiltCandidate, first: BuiltCandidate, objective: Objective) -> bool:
    """Return whether `candidate` is as good as `first` within the noise."""
    goal = GOALS[objective]
    ratio = _cost(candidate, goal) / (_cost(first, goal) or 1.0)
    if not goal.timed or ratio > 1 + WIDEST_TIE:
        return ratio <= 1 + TIE
    assert candidate.outcome is not None and first.outcome is not None
    return ratio <= 1 + TIE or bench.faster(first.outcome, candidate.outcome).verdict != "faster"


def beaten_by(
    candidate: BuiltCandidate, others: Sequence[BuiltCandidate], objective: Objective
) -> BuiltCandidate | None:
    """Return the first of the others that is better than `candidate` beyond the noise."""
    goal = GOALS[objective]
    better = [
        other
        for other in others
        if _cost(other, goal) < _cost(candidate, goal) and not tied(candidate, other, objective)
    ]
    return better[0] if better else None


def why_shipped(
    candidate: BuiltCandidate,
    passing: Sequence[BuiltCandidate],
    objective: Objective,
    beside: Sequence[BuiltCandidate] = (),
) -> str:
    """Return why `candidate` is the best of `passing`, of which the cost of each is known, and what that costs in time.

    Those `beside` were measured for comparison.
    """
    goal = GOALS[objective]
    less = [other for other in passing if other is not candidate and _cost(other, goal) < _cost(candidate, goal)]
    if less:
        first = min(less, key=lambda other: _cost(other, goal))
        next_ = "closer to the original" if goal.timed or candidate.p50_ms is None else "faster"
        why = f"{goal.ties} {first.planned.name} within {'the noise' if goal.timed else f'{TIE:.0%}'}, and {next_}"
    else:
        why = f"{goal.best} that passes" if objective in ("latency", "size") else f"{goal.best} of those that pass"
        why = why if len(passing) > 1 else "the only one that passes"
    return why + _price(candidate, [*passing, *beside], goal)


def why_lost(candidate: BuiltCandidate, winner: BuiltCandidate, objective: Objective) -> str:
    """Return why `winner` was shipped and not `candidate`."""
    goal, name = GOALS[objective], winner.planned.name
    mine, best_cost = goal.cost(candidate), goal.cost(winner)
    if mine is None or best_cost is None:
        if _kind(candidate) == _kind(winner):
            return f"not measured; {name} is expected to be as fast, and is closer to the original"
        return f"{name} comes first in the target's order"
    ratio = mine / best_cost if best_cost else 1.0
    if goal.timed:
        return f"{ratio:.2f}x {goal.cost_of} {name}" if ratio >= 1 else "as fast within the noise, less faithful"
    time = ""
    if candidate.p50_ms is not None and winner.p50_ms:
        time = f", {candidate.p50_ms / winner.p50_ms:.2f}x its time"
    return f"{ratio:.2f}x {goal.cost_of} {name}{time}"


def _price(candidate: BuiltCandidate, passing: Sequence[BuiltCandidate], goal: Goal) -> str:
    """Return how much slower than the fastest that passes the one is that was asked for by another measure."""
    timed = measured(passing, "latency")
    if goal.timed or candidate.p50_ms is None:
        return ""
    fastest = best(timed, "latency")
    if fastest is candidate or tied(candidate, fastest, "latency"):
        return ""
    return (
        f"; {(candidate.p50_ms or 0.0) / (fastest.p50_ms or 1.0):.2f}x the time of {fastest.planned.name}, the fastest"
    )


def _cost(candidate: BuiltCandidate, goal: Goal) -> float:
    cost = goal.cost(candidate)
    assert cost is not None, "only those of `measured` are compared"
    return cost
