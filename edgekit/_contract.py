"""The values that the core and a plugin exchange. `edgekit.plugin`, which holds the protocols, is where they are
imported from.
"""

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
    """What a backend finds on this machine."""

    available: bool
    versions: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    hint: str | None = None
    """The command that mends it, when it is not available."""


@dataclass(frozen=True)
class Support(Record):
    """Every reason why a backend cannot take a model for a target; none means it can."""

    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Precision(Record):
    """The precision that really runs, asked of the runtime."""

    main: str
    """The type in which most of the arithmetic runs: f32, f16, bf16 or i8."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """How many executed layers run in each type; `i4-weights`: in floats, on weights that are held in i4."""


@dataclass(frozen=True)
class Built(Record):
    """What a backend built of one part, as files below the work directory."""

    files: tuple[str, ...]
    """Relative to the work directory; the first is the one to open."""
    requires: Mapping[str, Any] = field(default_factory=dict)
    """Facts the opening machine must have: `arch`, `isa` (all of), `isa_any` (one of), `packages` (name -> range)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The runtime options to open with, resolved."""
    evidence: Evidence = "parsed"
    portable: bool = False
    """Prepared, not compiled for one device: `Finishable.finish` does that there."""
    cacheable: bool = True
    """False where a check gave no answer, as a compiler that was stopped: this export uses what was built, and the next
    one builds it again."""
    notes: tuple[str, ...] = ()
    part: Part | None = None
    """The part as it was compiled, where its inputs or outputs are no longer the model's: sizes that the compiler
    fixed."""


@dataclass(frozen=True)
class Payload(Record):
    """A compiled part as a bundle holds it: what `Backend.open` is given."""

    folder: Path
    files: tuple[str, ...]
    """Relative to the folder; the first is the one to open."""
    part: Part
    """What it computes; `part.file` is the graph that it was built from, which may not be there."""
    options: Mapping[str, Any] = field(default_factory=dict)
    off_target: bool = False
    """Opened on a machine that is not its device, to see what it computes: any arithmetic that computes the graph will
    do."""

    @property
    def main(self) -> Path:
        return self.folder / self.files[0]

    def check(self) -> None:
        """Raise ArtifactError, naming the first, where files are missing."""
        for name in self.files:
            if not (self.folder / name).is_file():
                raise ArtifactError(f"the bundle's file '{name}' is missing.", hint="copy or export the bundle again")


@dataclass(frozen=True)
class Training:
    """What a pass that trains is given beside the model."""

    data: TrainingData
    """The user's training samples, in batches, with labels where they have any."""
    teacher: Model
    """The model as it was loaded, whose outputs the trained one should match."""
    folder: Path
    """Survives a kill, and holds what this same training left here: the place for its checkpoints."""
    progress: Progress
    seed: int = 0


def fewer_threads(cores: int) -> tuple[Mapping[str, Any], ...]:
    """Return halves of the processors down to one, for `Tunable.variants`: small models lose more by handing out work
    than they gain.
    """
    counts = []
    while cores > 1:
        cores = (cores + 1) // 2
        counts.append({"threads": cores})
    return tuple(counts)
