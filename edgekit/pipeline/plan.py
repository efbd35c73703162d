"""What an export will do: a plan prints, can be saved as a project file, and run again.

`planning.py` resolves it, `builder.py` and the steps after it carry it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgekit._record import Record
from edgekit.project import Project, to_toml
from edgekit.recipe.recipe import Recipe
from edgekit.target.target import Target


@dataclass(frozen=True)
class PlannedCandidate(Record):
    """One way to try: a backend, a resolved recipe, and what is known to be in its way."""

    backend: str
    recipe: Recipe
    problems: tuple[str, ...] = ()
    baseline: bool = False
    """Measured for comparison only: what the user asked for must not be slower."""
    fallback: bool = False
    """Tried only where no int8 candidate passes the gate, not even repaired."""

    @property
    def name(self) -> str:
        return f"{self.backend}/{self.recipe.name}"


@dataclass(frozen=True)
class Plan(Record):
    """What an export will do. Its TOML form is a project file that does just this."""

    project: Project
    target: Target
    source: str
    candidates: tuple[PlannedCandidate, ...]
    shapes: Mapping[str, int] = field(default_factory=dict)
    mismatches: tuple[str, ...] = ()
    """Why measurements here do not count for the target; empty when they do."""

    @property
    def latency_budget_ms(self) -> float | None:
        """Return the least of what the project and the target allow; None where neither does."""
        return _least(self.project.max_latency_ms, self.target.limits.latency_ms)

    @property
    def size_budget_mb(self) -> float | None:
        """Return the least of what the project and the target allow; None where neither does."""
        return _least(self.project.max_size_mb, self.target.limits.size_mb)

    @property
    def memory_budget_mb(self) -> float | None:
        """Return the least of what the project and the target allow, in MB of 10^6 bytes, as memory is measured; the
        target's file says it in MiB.
        """
        limit = self.target.limits.memory_mb
        return _least(self.project.max_memory_mb, None if limit is None else limit * 1.048576)

    @property
    def possible(self) -> tuple[PlannedCandidate, ...]:
        return tuple(c for c in self.candidates if not c.problems and not c.baseline and not c.fallback)

    def to_toml(self, *, anywhere: bool = False) -> str:
        """Return the plan as a project file with what was resolved as comments; `anywhere` makes its paths absolute."""
        lines = [f"target: {self.target.summary}"]
        if self.mismatches:
            lines.append("not measured here: " + "; ".join(self.mismatches))
        notes = [f"will try {c.name}: {c.recipe.summary}" for c in self.possible]
        notes += [f"left out {c.name}: {'; '.join(c.problems)}" for c in self.candidates if c.problems]
        fallbacks = [c for c in self.candidates if c.fallback and not c.problems]
        notes += [f"will try {c.name} where no int8 passes: {c.recipe.summary}" for c in fallbacks]
        project = replace(
            self.project.absolute() if anywhere else self.project,
            candidates=tuple(c.name for c in self.possible),
            recipe=None,
            backends=(),
            targets={},
        )
        return to_toml(project, {"target": "\n".join(lines), "candidates": "\n".join(notes)})


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
