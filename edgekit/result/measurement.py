"""What one benchmark of one artifact found: times, energy, what the sensors said, and what each scenario adds. Values
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit._record import Record
from edgekit.plugin import Precision
from edgekit.result.latency_block import Turn

Scenario = Literal["single-stream", "offline", "fixed-rate", "sustained"]
"""How inferences arrive.

`single-stream`: one at a time, the next on completion of the last, MLPerf's SingleStream. `offline`: all samples are
there at the start and are taken in batches and by several streams, MLPerf's Offline. `fixed-rate`: by a schedule, as a
camera's pictures; latencies count from the scheduled arrival. `sustained`: as single-stream, for minutes.
"""

Quantity = Literal["temperature", "clock", "power", "energy", "memory"]

UNITS: Mapping[Quantity, str] = {"temperature": "°C", "clock": "MHz", "power": "W", "energy": "J", "memory": "MB"}


@dataclass(frozen=True)
class ColdStart(Record):
    """From nothing to the first answer in a fresh process, in milliseconds."""

    import_ms: float
    load_ms: float
    first_inference_ms: float


@dataclass(frozen=True)
class Noise(Record):
    """Whether something else used the processor while we measured."""

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
    """What one sensor said, a value for each of `Sensors.times_s`; None where it could not be read then."""

    name: str
    """As the board calls it: `cpu-thermal`, `policy0`, `VDD_IN`, `package-0`, `available`."""
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
    """What the machine's sensors said while one artifact was measured: few values a second, from another process than
    the measured one.
    """

    interval_s: float
    times_s: tuple[float, ...]
    """When each value was read, from the first timed inference on."""
    series: tuple[Series, ...]
    absent: Mapping[str, str] = field(default_factory=dict)
    """Each quantity, or sensor, that could not be read, with the reason."""
    cpu_share: float | None = None
    """What reading them took of one processor, 0 to 1."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What does not change in a run: the power mode."""

    def of(self, quantity: Quantity) -> tuple[Series, ...]:
        return tuple(one for one in self.series if one.quantity == quantity)


@dataclass(frozen=True)
class Throttle(Record):
    """Whether the machine slowed itself down while it was measured."""

    verdict: Literal["throttled", "slowed", "not throttled", "unknown"]
    """`slowed`: the latency rose, and no sensor tells why. `unknown`: no sensor tells, and nothing was seen."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window(Record):
    """A part of a sustained run; sensors are means over it, None where there is no such sensor."""

    start_s: float
    """From the first timed inference on."""
    seconds: float
    count: int
    p50_ms: float
    clock_mhz: float | None = None
    """The processor's fastest cluster."""
    temperature_c: float | None = None
    """The hottest sensor."""
    power_w: float | None = None
    """Of the rail that the energy is of."""


@dataclass(frozen=True)
class Sustained(Record):
    """How a long run went: its windows in order, and its first minute against its last (thirds of a short run)."""

    windows: tuple[Window, ...]
    compared_s: float
    """Seconds at each end that were compared."""
    first_p50_ms: float
    last_p50_ms: float

    @property
    def slowdown(self) -> float:
        """Return the last latency over the first: 1.25 is a quarter slower."""
        return self.last_p50_ms / self.first_p50_ms


@dataclass(frozen=True)
class Pace(Record):
    """How inferences that arrive by schedule, as a camera's pictures do, were kept up with."""

    rate_per_s: float
    deadline_ms: float
    """From the scheduled arrival to the answer."""
    missed: int
    """Inferences that ended after their deadline."""
    busy_share: float
    """The mean time of an inference over the period: from 1 on the queue grows for as long as the run lasts."""
    service_p50_ms: float | None
    """The time of the inference alone, without waiting for those before it."""

    @property
    def overloaded(self) -> bool:
        return self.busy_share >= 1


@dataclass(frozen=True)
class EndToEnd(Record):
    """From a raw sample to the answer: the task's preparation, the inferences that the sample needs, and the answer."""

    sample: str
    """What was prepared: a file's name, or a text's first words."""
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
        """Return the median, or the mean of a run too short for one."""
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
    """Joules of one inference on `energy_rail`: all that the rail gave in the timed region, what an idle machine takes
    included.
    """
    energy_reason: str | None = "no power sensor was read"
    """Why there is no energy; None where there is."""
    raw_file: str | None = None
    """The raw latencies in nanoseconds, one a line, beside the report."""
    batch: int = 1
    """Samples in one inference; latencies are those of the whole inference."""
    energy_rail: str | None = None
    streams: int = 1
    """Inferences that ran at the same time."""
    sensors: Sensors | None = None
    throttle: Throttle | None = None
    pace: Pace | None = None
    """Of the scenario `fixed-rate`."""
    sustained: Sustained | None = None
    """Of the scenario `sustained`."""
    end_to_end: EndToEnd | None = None
    """Where a raw sample was given: measured beside the model-only latencies, after them."""
    turns: tuple[Turn, ...] = ()
    """How the latencies are spread and how they moved, in the order in which they were measured."""

    @property
    def p50_ms(self) -> float:
        """Return the median, or the mean of a run too short for one."""
        return self.percentiles_ms.get("p50", self.mean_ms)
