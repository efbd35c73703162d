"""The results of one benchmark of one artifact: times, energy, sensor readings, and what each scenario adds. Values
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit._record import Record
from edgekit.errors import UsageError
from edgekit.plugin import Precision
from edgekit.result import bounds
from edgekit.result.generation_times import GenerationTimes
from edgekit.result.latency_block import LatencyBlock
from edgekit.runner import PartTime

Scenario = Literal["single-stream", "offline", "fixed-rate", "sustained"]
"""How inferences arrive.

`single-stream`: one at a time, the next on completion of the last, MLPerf's SingleStream. `offline`: all samples are
available at the start and run in batches and in several streams, MLPerf's Offline. `fixed-rate`: by a schedule, like
the pictures of a camera; latencies count from the scheduled arrival. `sustained`: as single-stream, for minutes.
"""

Quantity = Literal["temperature", "clock", "power", "energy", "memory"]

UNITS: Mapping[Quantity, str] = {"temperature": "°C", "clock": "MHz", "power": "W", "energy": "J", "memory": "MB"}


@dataclass(frozen=True)
class ColdStart(Record):
    """The time of each step up to the first answer in a new process, in milliseconds."""

    import_ms: float
    load_ms: float
    first_inference_ms: float


@dataclass(frozen=True)
class Noise(Record):
    """Whether other work used the processor during the measurement."""

    noisy: bool
    reasons: tuple[str, ...] = ()
    foreign_cpu_share: float | None = None
    """Share of the machine's processor time that other processes took, 0 to 1."""
    steal_share: float | None = None
    """Share that the hypervisor took, 0 to 1."""
    round_spread: float | None = None
    """(largest - smallest) / median of the rounds' medians."""


@dataclass(frozen=True)
class Series(Record):
    """The readings of one sensor, one for each of `Sensors.times_s`; None where it could not be read."""

    name: str
    """The board's name for it: `cpu-thermal`, `policy0`, `VDD_IN`, `package-0`, `available`."""
    quantity: Quantity
    """In °C, MHz, W, J (counted since the measurement began) or MB of 10^6 bytes: see `UNITS`."""
    values: tuple[float | None, ...]

    @property
    def known(self) -> tuple[float, ...]:
        return tuple(value for value in self.values if value is not None)

    @property
    def mean(self) -> float | None:
        return sum(self.known) / len(self.known) if self.known else None


@dataclass(frozen=True)
class Sensors(Record):
    """The readings of the machine's sensors while one artifact was measured: a few a second, taken by another process
    than the measured one.
    """

    interval_s: float
    times_s: tuple[float, ...]
    """When each value was read, counted from the first timed inference."""
    series: tuple[Series, ...]
    absent: Mapping[str, str] = field(default_factory=dict)
    """Each quantity, or sensor, that could not be read, with the reason."""
    cpu_share: float | None = None
    """Share of one processor that reading the sensors took, 0 to 1."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts that do not change in a run, such as the power mode."""

    def __post_init__(self) -> None:
        if any(len(series.values) != len(self.times_s) for series in self.series):
            raise UsageError(
                f"a sensor does not have {len(self.times_s)} readings, one for each time.",
                hint="copy the report again, or measure again with `edgekit bench`",
            )
        bounds.check("the time of a reading", self.times_s, least=-bounds.MOST)
        for series in self.series:
            bounds.check(f"a reading of '{series.name[:60]}'", series.values, least=-bounds.MOST)

    def of(self, quantity: Quantity) -> tuple[Series, ...]:
        return tuple(series for series in self.series if series.quantity == quantity)


@dataclass(frozen=True)
class Throttle(Record):
    """Whether the machine slowed itself down while it was measured."""

    verdict: Literal["throttled", "slowed", "not throttled", "unknown"]
    """`slowed`: the latency rose, and no sensor shows why. `unknown`: no sensor shows it, and the latency did
    not rise.
    """
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window(Record):
    """A part of a sustained run; values of sensors are means over it, None without such a sensor."""

    start_s: float
    """Counted from the first timed inference."""
    seconds: float
    count: int
    p50_ms: float
    clock_mhz: float | None = None
    """The processor's fastest cluster."""
    temperature_c: float | None = None
    """The hottest sensor."""
    power_w: float | None = None
    """Of the rail that the energy was measured on."""


@dataclass(frozen=True)
class Sustained(Record):
    """The course of a long run: its windows in order, and its first and last minute (the first and last third of a
    short run).
    """

    windows: tuple[Window, ...]
    compared_s: float
    """Seconds at each end that were compared."""
    first_p50_ms: float
    last_p50_ms: float

    @property
    def slowdown(self) -> float:
        """The last latency divided by the first: 1.25 is a quarter slower."""
        return self.last_p50_ms / self.first_p50_ms


@dataclass(frozen=True)
class Pace(Record):
    """Whether inferences kept up with scheduled arrivals, such as the pictures of a camera."""

    rate_per_s: float
    deadline_ms: float
    """From the scheduled arrival to the answer."""
    missed: int
    """Inferences that ended after their deadline."""
    busy_share: float
    """The mean time of an inference divided by the period: from 1 on the queue grows for as long as the run lasts."""
    service_p50_ms: float | None
    """The time of the inference alone, without waiting for those before it."""

    @property
    def overloaded(self) -> bool:
        return self.busy_share >= 1


@dataclass(frozen=True)
class EndToEnd(Record):
    """From a raw sample to the answer: the task's preparation, the inferences that the sample needs, and the answer."""

    sample: str
    """The sample: a file's name, or a text's first words."""
    count: int
    percentiles_ms: Mapping[str, float]
    """Only those that the count supports."""
    mean_ms: float
    prepare_ms: float
    """The median of each part, in milliseconds."""
    infer_ms: float
    answer_ms: float

    @property
    def p50_ms(self) -> float:
        """The median, or the mean of a run too short for a median."""
        return self.percentiles_ms.get("p50", self.mean_ms)


@dataclass(frozen=True)
class Measurement(Record):
    """One benchmark of one artifact. Latencies are model-only, of a bound call, on real input."""

    scenario: Scenario
    warmup_count: int
    converged: bool
    count: int
    seconds: float
    percentiles_ms: Mapping[str, float]
    """Only those that the count supports."""
    mean_ms: float
    throughput_per_s: float
    """Samples per second as counted over the timed region (not 1000 / mean)."""
    peak_memory_mb: float | None
    cold_start: ColdStart | None
    noise: Noise
    shapes: Mapping[str, tuple[int, ...]]
    threads: int | None
    precision: Precision | None = None
    energy_j: float | None = None
    """Joules of one inference on `energy_rail`: all energy of the rail in the timed region, including what an idle
    machine takes.
    """
    energy_reason: str | None = "no power sensor was read"
    """Why `energy_j` is None; None where it is not."""
    raw_file: str | None = None
    """The file of raw latencies in nanoseconds, one a line, in the report's folder."""
    batch: int = 1
    """Samples in one inference; latencies are those of the whole inference."""
    energy_rail: str | None = None
    streams: int = 1
    """Number of inferences that ran at the same time."""
    sensors: Sensors | None = None
    throttle: Throttle | None = None
    pace: Pace | None = None
    """Of the scenario `fixed-rate`."""
    sustained: Sustained | None = None
    """Of the scenario `sustained`."""
    end_to_end: EndToEnd | None = None
    """Where a raw sample was given: measured separately, after the model-only latencies."""
    generation: GenerationTimes | None = None
    """Of a model that generates, one token a call: measured separately, on the same sample."""
    parts: tuple[PartTime, ...] = ()
    """Of a model of several parts: the time of each, measured separately, after the latencies."""
    turns: tuple[LatencyBlock, ...] = ()
    """The latencies' distribution in each block of the measurement, in the order in which the blocks ran."""

    def __post_init__(self) -> None:
        bounds.check("a latency", (self.mean_ms, *self.percentiles_ms.values()), above=True)
        bounds.check("the throughput", (self.throughput_per_s,), above=True)
        bounds.check("a count", (self.count, self.warmup_count))
        bounds.check("the number of samples or of streams", (self.batch, self.streams), least=1)
        bounds.check("the memory, the energy or the time", (self.peak_memory_mb, self.energy_j, self.seconds))

    @property
    def p50_ms(self) -> float:
        """The median, or the mean of a run too short for a median."""
        return self.percentiles_ms.get("p50", self.mean_ms)


@dataclass(frozen=True)
class Speed(Record):
    """How many times as fast as another candidate the shipped one is, measured interleaved."""

    ratio: float
    low: float
    high: float
    """The 95 % confidence interval of `ratio`."""
