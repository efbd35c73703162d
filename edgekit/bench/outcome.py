"""The values of a benchmark: what to measure, how, and the outcome; `edgekit.bench.schedule` measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._record import Record
from edgekit.bench.percentile import percentiles_ms
from edgekit.data import Sample
from edgekit.errors import EdgekitError, UsageError
from edgekit.plugin import LayerTime, Payload
from edgekit.result.measurement import Measurement, Scenario
from edgekit.runner import Fed, Program
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TaskConfig

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Settings(Record):
    """How to measure. A model is done when it has reached both minima, or the maximum."""

    min_seconds: float = 2.0
    min_count: int = 64
    """Inferences; p90 needs 64."""
    max_seconds: float = 30.0
    """Timed seconds after which a model is done whatever its count; a running round is completed."""
    round_ms: float = 200.0
    lead_in_ms: float = 20.0
    """The length of the untimed calls before each round, where models are interleaved."""
    warmup_min_seconds: float = 0.5
    warmup_max_seconds: float = 10.0
    profile: bool = False
    cold_start: bool = True
    seed: int = 0
    """For the resampling in `faster`."""
    scenario: Scenario = "single-stream"
    rate_per_s: float | None = None
    """Of `fixed-rate`: arrivals a second."""
    deadline_ms: float | None = None
    """Of `fixed-rate`: from arrival to answer; None is the time to the next arrival."""
    streams: int = 1
    """Of `offline`: parallel inferences."""
    sample_s: float | None = None
    """Seconds between two readings of the machine's sensors; with None they are not read."""

    @classmethod
    def lasting(cls, seconds: float, *, round_ms: float = 200.0, profile: bool = False) -> Settings:
        """Return settings that time each model for at least `seconds`.

        A short measurement gets a short warm-up, at most five times as long: with two seconds, the usual ten.
        """
        return cls(
            min_seconds=seconds,
            max_seconds=max(30.0, seconds),
            round_ms=round_ms,
            lead_in_ms=min(cls.lead_in_ms, round_ms / 5),  # otherwise short rounds would be mostly lead-in
            warmup_min_seconds=min(cls.warmup_min_seconds, seconds),
            warmup_max_seconds=min(cls.warmup_max_seconds, 5 * seconds),
            profile=profile,
        )

    def __post_init__(self) -> None:
        if (self.scenario == "fixed-rate") != (self.rate_per_s is not None):
            raise UsageError(
                "rate_per_s belongs to the scenario 'fixed-rate', which needs it.",
                hint="give scenario='fixed-rate' and rate_per_s=30, or neither",
            )
        if min(self.streams, self.rate_per_s or 1, self.deadline_ms or 1, self.sample_s or 1) <= 0:
            raise UsageError(
                "a benchmark needs positive streams, rate_per_s, deadline_ms and sample_s.", hint="give numbers above 0"
            )
        if self.streams > 1 and self.scenario != "offline":
            raise UsageError(
                "more than one stream belongs to the scenario 'offline'.", hint="give scenario='offline', or streams=1"
            )
        if min(self.round_ms, self.max_seconds) <= 0 or self.min_count < 1 or self.min_seconds < 0:
            raise UsageError(
                "a benchmark needs positive round_ms, max_seconds and min_count.", hint="give numbers above 0"
            )
        if self.min_seconds > self.max_seconds:
            raise UsageError(
                f"min_seconds ({self.min_seconds:g}) is above max_seconds ({self.max_seconds:g}).",
                hint=f"give max_seconds={self.min_seconds:g} or more",
            )


@dataclass(frozen=True)
class RawSample:
    """A sample before its preparation, for the time from end to end."""

    task: TaskConfig
    """The task that prepares it and answers, with the files in `assets`, for a graph with `inputs`."""
    assets: Path
    inputs: tuple[TensorSpec, ...]
    sample: Sample
    name: str
    """For the report: a file's name, or a text's first words."""


@dataclass(frozen=True)
class Entry:
    """One compiled model to measure, on real input."""

    name: str
    backend: str
    """A registered backend's name, or `package.module:Class`."""
    payload: Payload | Program
    """One graph, or the parts of a model."""
    feeds: Fed | Path
    """Input name to array, or an npz file of those; of several parts the calls of one sample."""
    batch: int = 1
    """Samples in the feeds; throughput counts each of them."""
    python: Path | None = None
    """The interpreter of another environment to run it in; see `edgekit.bench.child`."""
    raw: RawSample | None = None
    """The sample to measure from end to end too, if any."""

    def arrays(self) -> Fed:
        """Return the feeds. Raises UsageError when their file cannot be read."""
        if not isinstance(self.feeds, Path):
            return self.feeds
        import numpy as np

        try:
            with np.load(self.feeds, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, AttributeError) as error:  # AttributeError: a single .npy has no files
            raise UsageError(
                f"cannot read the inputs in '{self.feeds}': {error}.", hint="write them again with numpy.savez"
            ) from error


@dataclass(frozen=True)
class Round:
    """One timed round of one model."""

    cycle: int
    """Rounds of different models with the same number ran one after the other."""
    count: int
    seconds: float
    median_ns: float
    began_s: float = 0.0
    """By `time.monotonic`."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one entry: a measurement, or the fault that ended it."""

    name: str
    measurement: Measurement | None
    latencies_ns: np.ndarray
    """Every timed latency in order, int64 [count]."""
    rounds: tuple[Round, ...]
    layers: tuple[LayerTime, ...] = ()
    notes: tuple[str, ...] = ()
    """The reasons why something that was requested is missing."""
    fault: EdgekitError | None = None

    @property
    def ok(self) -> bool:
        return self.fault is None

    def save_latencies(self, path: Path) -> None:
        """Write the raw latencies in nanoseconds, one a line."""
        path.write_text("".join(f"{value}\n" for value in self.latencies_ns.tolist()))


@dataclass(frozen=True)
class Summary:
    """The numbers that follow from the rounds alone."""

    count: int
    seconds: float
    percentiles_ms: Mapping[str, float]
    mean_ms: float
    throughput_per_s: float


def summarise(latencies_ns: np.ndarray, rounds: Sequence[Round]) -> Summary:
    """Return the summary of the timed rounds; throughput is inferences over the rounds' wall time, not 1000 / mean."""
    seconds = sum(timed.seconds for timed in rounds)
    return Summary(
        count=len(latencies_ns),
        seconds=seconds,
        percentiles_ms=percentiles_ms(latencies_ns),
        mean_ms=float(latencies_ns.mean()) / 1e6,
        throughput_per_s=len(latencies_ns) / seconds,
    )
