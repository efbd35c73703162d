"""Budgets on latency, size and memory: which of them a candidate exceeds, and by how much.

The budget on quality is the gate's, in `evaluation/gate.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.model import Model
from edgekit.pipeline.plan import Plan
from edgekit.result.measurement import Measurement
from edgekit.result.report import Candidate
from edgekit.tasks.config import Generation


@dataclass(frozen=True)
class Excess:
    """One budget that was exceeded."""

    what: str
    value: float
    limit: float
    unit: str
    option: str
    """What to raise on the command line."""

    @property
    def share(self) -> float:
        """Return the excess relative to the budget: 0.5 is half as much again."""
        return self.value / self.limit - 1

    def __str__(self) -> str:
        subject = f"{self.what} " if self.what else ""
        return f"{subject}{self.value:.3g} {self.unit}, at most {self.limit:g} {self.unit} allowed"


def excesses(plan: Plan, size_mb: float | None, measured: Measurement | None) -> tuple[Excess, ...]:
    """Return every budget of the plan that is exceeded; what is not known exceeds none."""
    budgets = (
        ("p50", measured.p50_ms if measured else None, plan.latency_budget_ms, "ms", "--max-latency-ms"),
        ("", size_mb, plan.size_budget_mb, "MB", "--max-size-mb"),
        ("peak memory", measured.peak_memory_mb if measured else None, plan.memory_budget_mb, "MB", "--max-memory-mb"),
    )
    return tuple(
        Excess(what, value, limit, unit, option)
        for what, value, limit, unit, option in budgets
        if value is not None and limit is not None and value > limit
    )


def check_states(plan: Plan, model: Model, generation: Generation | None) -> None:
    """Raise UsageError where what a model keeps of its longest answer to one token exceeds the memory budget alone."""
    limit = plan.memory_budget_mb
    if limit is None or generation is None:
        return
    tokens = generation.longest(1)
    needed = sum(state.grown_bytes(tokens) for state in model.states) / 1e6
    if needed > limit:
        raise UsageError(
            f"the keys and values of {tokens} tokens, the model's longest answer, take {needed:.3g} MB, and the memory "
            f"budget is {limit:g} MB.",
            hint="lower max_new_tokens in its generation_config.json, or raise --max-memory-mb",
        )


def nearest(plan: Plan, candidates: tuple[Candidate, ...]) -> tuple[Candidate, tuple[Excess, ...]]:
    """Return the candidate over budget that is nearest to keeping all of them, and what it exceeds.

    Near is measured by the worst excess, relative to its budget: milliseconds and megabytes have no other common unit.
    """
    over = [(c, excesses(plan, c.size_mb, c.measurement)) for c in candidates if c.status == "over-budget"]
    return min(over, key=lambda pair: max((excess.share for excess in pair[1]), default=0.0))
