"""The workload of a benchmark as the user specifies it: a scenario with its options, and their defaults."""

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
"""Length of a sustained run: roughly what a fanless board needs to reach its final temperature."""

BATCH = 8
"""Samples of an inference where throughput counts: enough to share the reading of the weights from memory, and few
enough that the activations fit on small devices.
"""

SAMPLE_S = 0.5
"""Time between two readings of the sensors: long enough to cost nothing."""

MOST_READINGS = 600
"""Readings of one run: a longer run is read less often, so that its report stays small."""

_BELONGS = {"rate": "fixed-rate", "deadline_ms": "fixed-rate", "minutes": "sustained", "streams": "offline",
            "batch": "offline"}  # fmt: skip


@dataclass(frozen=True)
class Workload(Record):
    """A scenario and its options; None is a default, which is decided here."""

    scenario: Scenario = "single-stream"
    rate: float | None = None
    """Of `fixed-rate`: arrivals a second."""
    deadline_ms: float | None = None
    """Of `fixed-rate`: from arrival to answer, by default the time to the next arrival."""
    minutes: float | None = None
    """Of `sustained`."""
    streams: int | None = None
    """Of `offline`: parallel inferences, by default one, which uses all cores."""
    batch: int | None = None
    """Of `offline`: samples in one inference, by default 8 where the graph's batch is free."""
    prompt_tokens: int | None = None
    """Of a model that continues a text: the prompt's length, by default that of the stored sample."""
    new_tokens: int | None = None
    """The tokens that follow it, by default those of the stored sample."""

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "new_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} {value} is not valid: it must be at least 1.", hint=f"give {option} 128, or leave it out"
                )
        for name, scenario in _BELONGS.items():
            value, option = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is not None and self.scenario != scenario:
                raise UsageError(
                    f"{option} belongs to the scenario '{scenario}', and the scenario is '{self.scenario}'.",
                    hint=f"add --scenario {scenario}, or leave {option} out",
                )
            if value is not None and value <= 0:
                raise UsageError(
                    f"{option} {value:g} is not valid: it must be above 0.",
                    hint=f"give a number above 0, or leave {option} out",
                )
        if self.scenario == "fixed-rate" and self.rate is None:
            raise UsageError(
                "the scenario 'fixed-rate' needs the rate of arrivals.", hint="add --rate 30 for a camera's 30 a second"
            )

    def settings(self, seconds: float, *, sensors: bool = True) -> Settings:
        """Return how to measure: for at least `seconds`, or for the minutes of a sustained run."""
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
        """Return the feeds, from a bundle's stored samples, and the number of samples in them.

        A batch repeats the samples with the shapes of the first until it is full. Raises UnsupportedError where the
        graph's batch is fixed and another is requested.
        """
        import numpy as np

        free = free_batch(inputs)
        if self.batch is not None and self.batch > 1 and not free:
            raise UnsupportedError(
                f"the bundle '{name}' has a fixed batch, and cannot be measured with --batch {self.batch}.",
                hint="use --streams in place of --batch, or export it again with a free batch (--shape batch=dynamic "
                "frees one that the target fixes)",
            )
        size = self.batch or (BATCH if free and self.scenario == "offline" else 1)
        if size == 1:
            return stored[0], 1
        shapes = {key: array.shape for key, array in stored[0].items()}
        alike = [sample for sample in stored if {key: array.shape for key, array in sample.items()} == shapes]
        batch = [alike[index % len(alike)] for index in range(size)]
        return {key: np.concatenate([sample[key] for sample in batch]) for key in shapes}, size


def free_batch(inputs: Sequence[TensorSpec]) -> bool:
    """Return whether the first dimension of all inputs is the same free size."""
    firsts = {spec.shape[0] if spec.shape else None for spec in inputs}
    return len(firsts) == 1 and isinstance(firsts.pop(), str)
