"""The Report of an export, verification or benchmark: candidates, their quality and their measurements. Values only;
`report/` renders them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit._reading import guard, read_json
from edgekit._record import Record
from edgekit.errors import UsageError
from edgekit.model import Step
from edgekit.plugin import Evidence, LayerCost, LayerTime, Precision
from edgekit.project import Objective
from edgekit.result import bounds
from edgekit.result.data_sources import DataSources
from edgekit.result.measurement import Measurement, Speed
from edgekit.result.quality import OutputDeviation, ScoreShift
from edgekit.target.host import Host

SCHEMA = 1


@dataclass(frozen=True)
class Environment(Record):
    """The machine and software that a number belongs to."""

    host: Host
    packages: Mapping[str, str]
    governor: str | None = None
    emulated: bool = False
    created: str = ""
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Check(Record):
    """A condition: a value and the limit that it is compared with."""

    name: str
    value: float
    limit: float
    passed: bool
    meaning: str
    """In words: `accuracy 0.9917 against 0.9944 of the original: 0.28 points lost, 1 point allowed`."""


@dataclass(frozen=True)
class Quality(Record):
    """How far a candidate's outputs are from the original model's on the same samples, and the task's metric where
    there are labels.
    """

    samples: int
    labelled: int
    max_abs: float
    rel_l2: float
    cosine: float
    """The least cosine over samples, of the worst output or group of channels."""
    agreement: float | None
    """Share of samples, or of the tokens of a text, with the same top-1 answer; None for a task without one."""
    metric: str | None = None
    original_score: float | None = None
    score: float | None = None
    drop: float | None = None
    """How much worse `score` is than the original's: positive is a loss, in the metric's unit (0.01 is one point)."""
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    reference: str = ""
    """The framework that computed the original's outputs: `torch 2.13.0`."""
    worst: str = ""
    """The output, or the group of channels, that `cosine` is of; empty where it is of all outputs together."""
    outputs: tuple[OutputDeviation, ...] = ()
    """Each output, and each group of channels whose magnitudes differ."""
    unjudged: tuple[str, ...] = ()
    """Outputs that hold no answers, so that neither the metric nor the agreement judges them."""
    scores: tuple[ScoreShift, ...] = ()
    """How the scores moved, where outputs hold any."""
    pooled: float | None = None
    """The relative L2 difference over all outputs together; None in reports of older versions, where `rel_l2` is it."""
    arithmetic: str = ""
    """How the outputs were computed where it was not done as on the target; empty where it was."""
    equal_texts: int | None = None
    """Of how many samples the generated text is the original's; None for a task that generates none."""
    original_perplexity: float | None = None
    perplexity: float | None = None
    """Of the tokens that both were given; None for a task that generates no text."""

    @property
    def furthest(self) -> str:
        """Return the name of the output, or the group of channels, that `rel_l2` is of, where it is one of several."""
        if len(self.outputs) < 2:
            return ""
        return max(self.outputs, key=lambda part: part.rel_l2).name

    @property
    def ok(self) -> bool:
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Attempt(Record):
    """A try of a repair: the number of layers in float, and the gate's result."""

    layers_in_float: int
    passed: bool
    meaning: str


@dataclass(frozen=True)
class Repair(Record):
    """The repair of a candidate that missed the gate, whether it succeeded or not."""

    costs: tuple[LayerCost, ...]
    """Every layer by what quantizing it alone costs, the most expensive first."""
    layers_in_float: int
    """How many of them, from the first on, had to stay in float; 0 where no number was enough."""
    attempts: tuple[Attempt, ...]
    stopped: str = ""
    """Where the limit of time ended the repair: what would have been tried next."""


@dataclass(frozen=True)
class LayerChoice(Record):
    """A layer's time in float and in int8, each with its conversions and the operators after it."""

    name: str
    kind: str
    float_ms: float | None
    """None where the profile does not show the layer."""
    int8_ms: float | None
    in_float: bool


@dataclass(frozen=True)
class MixedTrial(Record):
    """A number of layers that were tried in float, and the latency that was measured."""

    layers_in_float: int
    p50_ms: float


@dataclass(frozen=True)
class Mixed(Record):
    """The time of each layer in float and in int8, and the mix of both, if one was faster than either."""

    layers: tuple[LayerChoice, ...]
    """In the order in which they run."""
    against: str
    """The candidate in float."""
    float_ms: float | None = None
    """Its p50 latency in the trial; `int8_ms` is that of int8 alone. None where no mix promised enough to be tried."""
    int8_ms: float | None = None
    trials: tuple[MixedTrial, ...] = ()
    note: str = ""
    """Why no mix became a candidate; empty where one did."""


@dataclass(frozen=True)
class Variant(Record):
    """Runtime options that were tried on the shipped candidate."""

    options: Mapping[str, Any]
    """Those that differ from the default options."""
    speed: float | None
    """Times as fast as with the default options, measured interleaved; None where it could not be measured."""
    reason: str
    """Why these options were, or were not, chosen."""
    taken: bool = False

    def __str__(self) -> str:
        words = {True: "on", False: "off"}
        pairs = sorted(self.options.items())
        return ", ".join(f"{key} {words[value] if isinstance(value, bool) else value}" for key, value in pairs)


@dataclass(frozen=True)
class Tuning(Record):
    """The speed of the shipped candidate with other runtime options, and the options it ships with."""

    variants: tuple[Variant, ...]
    before: Measurement
    """With the default options, in one run with the other candidates: ratios to those are computed from it."""
    noise: tuple[str, ...] = ()
    """What disturbed the machine while options were compared."""

    @property
    def taken(self) -> Variant | None:
        return next((variant for variant in self.variants if variant.taken), None)


@dataclass(frozen=True)
class Candidate(Record):
    """A way to build the model for the target, and its result."""

    name: str
    """`backend/recipe`."""
    backend: str
    recipe: str
    status: Literal[
        "shipped",
        "passed",
        "failed-gate",
        "over-budget",
        "slower",
        "no-gain",
        "baseline",
        "unsupported",
        "build-failed",
    ]
    """`slower`: a recipe that was asked for, but is slower than the `baseline`, full precision, in the same run.
    `no-gain`: pruned, and no better than the same recipe without pruning."""
    reason: str
    """Why it was shipped, or why not."""
    asked: str = "f32"
    effective: Precision | None = None
    size_mb: float | None = None
    part_sizes_mb: Mapping[str, float] = field(default_factory=dict)
    """Of a model of several parts: the size of each, by its name."""
    quality: Quality | None = None
    measurement: Measurement | None = None
    layers: tuple[LayerTime, ...] = ()
    notes: tuple[str, ...] = ()
    """The backend's notes about the build."""
    repair: Repair | None = None
    """Of a candidate that missed the gate with a recipe that can leave layers in float, and of the repaired one."""
    tuning: Tuning | None = None
    """Of the shipped candidate, where its backend offers other options."""
    front: bool = False
    """On the Pareto front of latency, size, memory and lost quality: no other measured candidate beats it in all."""
    behind: Speed | None = None
    """How many times as fast the shipped one is, before it was tuned; None where the two were not measured together."""
    mixed: Mixed | None = None
    """Of a quantized candidate whose layers were timed in float too, and of the mix of the two."""

    def __post_init__(self) -> None:
        bounds.check("the size in MB", (self.size_mb,))


@dataclass(frozen=True)
class Report(Record):
    """The results of one export, verification, benchmark or deployment."""

    kind: Literal["export", "verify", "bench", "deploy"]
    """`deploy`: a bundle verified and measured on a device by another machine."""
    model: str
    task: str | None
    target: str
    evidence: Evidence
    environment: Environment
    candidates: tuple[Candidate, ...]
    artifact: str | None = None
    """Digest of the bundle's payload."""
    objective: Objective = "latency"
    """What the candidates that pass are ranked by."""
    data: DataSources = field(default_factory=DataSources)
    lineage: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    noisy: bool = False
    """Whether other work disturbed the measurements that the report compares."""
    failures: tuple[str, ...] = ()
    """Gates and budgets that were missed; empty where there are none."""
    schema: int = SCHEMA

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def shipped(self) -> Candidate | None:
        return next((candidate for candidate in self.candidates if candidate.status == "shipped"), None)

    @property
    def subject(self) -> Candidate | None:
        """The candidate that the report is about: the shipped one, or the bundle that was verified; None otherwise."""
        verified = self.candidates[0] if self.kind in ("verify", "deploy") and self.candidates else None
        return self.shipped or verified

    @classmethod
    def load(cls, path: Path) -> Report:
        """Return the report of a file, or of a bundle's folder. Raises UsageError for what is not a report."""
        path = path / "report.json" if path.is_dir() else path
        if not path.exists():
            raise UsageError(
                f"the report '{path}' does not exist.", hint="give a report.json, or the folder of a bundle"
            )
        hint = "give a report.json that edgekit wrote, or the folder of a bundle"
        data = read_json(path, "the report", hint=hint)
        if isinstance(data, dict) and isinstance(data.get("schema"), int) and data["schema"] > SCHEMA:
            raise UsageError(
                f"'{path}' has report schema {str(data['schema'])[:20]}, this edgekit reads up to {SCHEMA}.",
                hint="pip install --upgrade edgekit",
            )
        with guard(f"the report '{path}'", hint=hint):
            return cls.from_dict(data, str(path))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
