"""The values that the core and a plugin exchange. Import them from `edgekit.plugin`, which has the protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit._record import Record
from edgekit.data import TrainingData
from edgekit.errors import ArtifactError
from edgekit.model import Model, Part
from edgekit.progress import Progress

Evidence = Literal["parsed", "aot_compiled", "built_on_device", "measured_on_device"]


@dataclass(frozen=True)
class Probe(Record):
    """What a backend needs, and whether this machine has it."""

    available: bool
    versions: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    hint: str | None = None
    """The command that solves the problems, where it is not available."""


@dataclass(frozen=True)
class Support(Record):
    """The problems for which a backend cannot build a model for a target; none means that it can."""

    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Precision(Record):
    """The precision that really runs, as the runtime reports it."""

    main: str
    """The type in which most of the arithmetic runs: f32, f16, bf16 or i8."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """How many executed layers run in each type; `i4-weights`: in floats, on weights that are stored in i4."""
    emulated: str = ""
    """Of a session that is `off_target`: how it computes what its device would, in words, such as `Q/DQ in float`."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Of a model of several parts: the `main` of each, by its name."""


@dataclass(frozen=True)
class Built(Record):
    """The result of building one part, as files below the work directory."""

    files: tuple[str, ...]
    """Paths relative to the work directory; the first is the one to open."""
    requires: Mapping[str, Any] = field(default_factory=dict)
    """What the opening machine must have: `arch`, `isa` (all of), `isa_any` (one of), `packages` (name -> range)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The runtime options to open it with, resolved."""
    evidence: Evidence = "parsed"
    portable: bool = False
    """Whether it is only prepared: `Finishable.finish` compiles it on the device."""
    cacheable: bool = True
    """False where a check was inconclusive, as when a compiler timed out: this export uses the result, but it is not
    cached."""
    notes: tuple[str, ...] = ()
    part: Part | None = None
    """The part as it was compiled, where the compiler fixed sizes of its inputs or outputs."""


@dataclass(frozen=True)
class Payload(Record):
    """A compiled part in a bundle: the argument of `Backend.open`."""

    folder: Path
    files: tuple[str, ...]
    """Paths relative to the folder; the first is the one to open."""
    part: Part
    """Its inputs, outputs and states; `part.file` is the graph that it was built from, which may be missing here."""
    options: Mapping[str, Any] = field(default_factory=dict)
    off_target: bool = False
    """Opened on a machine that is not its device, to check its outputs: it computes as the device would, Q/DQ in float
    where this machine's integer sums may saturate and the device's do not, floats rounded to the device's type. Its
    `Precision.emulated` names what it did."""

    @property
    def main(self) -> Path:
        return self.folder / self.files[0]

    def check(self) -> None:
        """Raise ArtifactError with the first missing file, where files are missing."""
        for name in self.files:
            if not (self.folder / name).is_file():
                raise ArtifactError(f"the bundle's file '{name}' is missing.", hint="copy or export the bundle again")


@dataclass(frozen=True)
class Training:
    """What a pass that trains gets in addition to the model."""

    data: TrainingData
    """The user's training samples, in batches, with labels where they have any."""
    teacher: Model
    """The model as it was loaded, whose outputs the trained one should match."""
    folder: Path
    """The folder for checkpoints: it survives a kill, and has what an interrupted run of the same training wrote."""
    progress: Progress
    seed: int = 0


def fewer_threads(cores: int) -> tuple[Mapping[str, Any], ...]:
    """Return options with half of the processors, a quarter and so on down to one, for `Tunable.variants`: small models
    lose more time by distributing work than they gain.
    """
    counts = []
    while cores > 1:
        cores = (cores + 1) // 2
        counts.append({"threads": cores})
    return tuple(counts)
