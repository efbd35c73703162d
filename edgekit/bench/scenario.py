"""What a user asks a benchmark to do: a scenario with its own numbers, checked, and turned into settings and feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._record import Record
from edgekit.bench.outcome import Settings
from edgekit.errors import UnsupportedError, UsageError
from edgekit.result.measurement import Scenario
from edgekit.spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

MINUTES = 10.0
"""Of a sustained run: what a fanless board needs to come to its final temperature, roughly."""

BATCH = 8
"""Samples of an inference where throughput counts: enough to share the weights' way from memory, and few enough that
small devices hold the activations.
"""

SAMPLE_S = 0.5
"""Between two readings of the sensors: seldom enough to cost nothing."""

MOST_READINGS = 600
"""Of one run: a longer one reads less often, so that its report stays small."""

_BELONGS = {"rate": "fixed-rate", "deadline_ms": "fixed-rate", "minutes": "sustained", "streams": "offline",
            "batch": "offline"}  # fmt: skip


@dataclass(frozen=True)
class Load(Record):
    """A scenario and what it leaves to the user; None is a default, decided here."""

    scenario: Scenario = "single-stream"
    rate: float | None = None
    """Arrivals a second, of `fixed-rate`."""
    deadline_ms: float | None = None
    """From arrival to answer; the time to the next arrival by default."""
    minutes: float | None = None
    """Of `sustained`."""
    streams: int | None = None
    """Inferences at the same time, of `offline`; one by default, which has all cores."""
    batch: int | None = None
    """Samples in one inference, of `offline`; 8 by default where the graph leaves it free."""

    def __post_init__(self) -> None:
        for name, scenario in _BELONGS.items():
            value, option = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is not None and self.scenario != scenario:
                raise UsageError(
                    f"{option} belongs to the scenario '{scenario}', and '{self.scenario}' is asked for.",
                    hint=f"add --scenario {scenario}, or leave {option} out",
                )
            if value is not None and value <= 0:
                raise UsageError(f"{option} {value:g} is not possible: it must be above 0.")
        if self.scenario == "fixed-rate" and self.rate is None:
            raise UsageError(
                "the scenario 'fixed-rate' needs the rate of arrivals.", hint="add --rate 30 for a camera's 30 a second"
            )

    def settings(self, seconds: float, *, sensors: bool = True) -> Settings:
        """Give how to measure: `seconds` at least, or the minutes of a sustained run."""
        minutes = 60 * (self.minutes or MINUTES) if self.scenario == "sustained" else None
        common = Settings.lasting(seconds)
        return replace(
            common,
            min_seconds=minutes or common.min_seconds,
            max_seconds=minutes or common.max_seconds,
            scenario=self.scenario,
            rate_per_s=self.rate,
            deadline_ms=self.deadline_ms,
            streams=self.streams or 1,
            sample_s=max(SAMPLE_S, (minutes or seconds) / MOST_READINGS) if sensors else None,
        )

    def feeds(
        self, stored: Sequence[Mapping[str, np.ndarray]], inputs: Sequence[TensorSpec], name: str
    ) -> tuple[Mapping[str, np.ndarray], int]:
        """Give what to feed, of a bundle's stored samples, and how many samples that is.

        A batch repeats those with the shapes of the first until it is full. Raises UnsupportedError where the graph
        fixes the batch and another is asked for.
        """
        import numpy as np

        free = free_batch(inputs)
        if self.batch is not None and self.batch > 1 and not free:
            raise UnsupportedError(
                f"the bundle '{name}' has a fixed batch, and --batch {self.batch} is asked for.",
                hint="leave --batch out and give --streams, or export it with --shape batch=dynamic",
            )
        size = self.batch or (BATCH if free and self.scenario == "offline" else 1)
        if size == 1:
            return stored[0], 1
        shapes = {key: array.shape for key, array in stored[0].items()}
        alike = [one for one in stored if {key: array.shape for key, array in one.items()} == shapes]
        chosen = [alike[index % len(alike)] for index in range(size)]
        return {key: np.concatenate([one[key] for one in chosen]) for key in shapes}, size


def free_batch(inputs: Sequence[TensorSpec]) -> bool:
    """Say whether the first size of all inputs is one and the same free one."""
    firsts = {spec.shape[0] if spec.shape else None for spec in inputs}
    return len(firsts) == 1 and isinstance(firsts.pop(), str)
