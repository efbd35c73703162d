"""THE CONTRACT: what a plugin author implements. Four protocols and the small values they exchange.

A plugin is a distribution with an entry point in one of these groups; `edgekit.testing` holds the test classes that
prove it.

    edgekit.backends   a Backend: compiles a model for a target and runs it       (name = the backend's name)
    edgekit.passes     a Pass: model in, model out                                (name = the pass's name)
    edgekit.sources    a Source: reference in, model out                          (name = the scheme)
    edgekit.targets    a module whose folder holds target TOML files

A backend's module is imported to list or plan, so its top level imports neither its runtime nor a framework. Build
side and device side are different modules: what `open` needs is the runtime and numpy only.
Raise edgekit's errors; translate your runtime's exceptions at this boundary and chain them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from edgekit._privacy import no_telemetry as no_telemetry  # for plugins: call it before importing a runtime
from edgekit._record import Record as Record  # for plugins: the base of their options
from edgekit.data import Feeds, TrainingData
from edgekit.errors import ArtifactError
from edgekit.layers import Anatomy as Anatomy
from edgekit.layers import GraphLayer as GraphLayer
from edgekit.layers import LayerCost as LayerCost
from edgekit.layers import LayerTime as LayerTime
from edgekit.model import Examples, Model, Reference
from edgekit.progress import Progress
from edgekit.recipe.builtin import USUAL as USUAL  # for plugins: the built-in recipes that are tried by default
from edgekit.recipe.recipe import PassConfig as PassConfig  # for plugins: the passes of their recipes
from edgekit.recipe.recipe import Recipe as Recipe
from edgekit.runtime import KnownFault as KnownFault
from edgekit.runtime import Runtime as Runtime
from edgekit.spec import FeedCheck as FeedCheck  # for plugins: the same, for the speed of `run`
from edgekit.spec import TensorSpec
from edgekit.spec import check_feeds as check_feeds  # for plugins: what `run` and `bind` owe
from edgekit.target.target import Target

if TYPE_CHECKING:
    import numpy as np

API = 1
"""The contract's version; a plugin states the one it was written for."""

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
    """What a backend built, as files below the work directory."""

    files: tuple[str, ...]
    """Relative to the work directory; the first is the one to open."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    requires: Mapping[str, Any] = field(default_factory=dict)
    """Facts the opening machine must have: `arch`, `isa` (all of), `isa_any` (one of), `packages` (name -> range)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The runtime options to open with, resolved."""
    evidence: Evidence = "parsed"
    portable: bool = False
    """Prepared, not compiled for one device: `Finishable.finish` does that there."""
    lasting: bool = True
    """False where something that was asked gave no answer: it is used, and the next export builds anew."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Payload(Record):
    """A compiled model as a bundle holds it: what `Backend.open` is given."""

    folder: Path
    files: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: bool = False
    """Opened on a machine that is not its device, to see what it computes: whatever here computes the graph will do."""

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
    """The model as it was loaded, live: what the trained one should answer as."""
    folder: Path
    """Survives a kill, and holds what this same training left here: the place for its checkpoints."""
    progress: Progress
    seed: int = 0


@runtime_checkable
class Session(Protocol):
    """A loaded model, ready to run. Close it, or use it as a context manager."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def precision(self) -> Precision:
        """Ask the runtime what really runs."""
        ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Check the feeds, run once, give every output; the caller owns the arrays. Raises UsageError for bad feeds."""
        ...

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Give a call that does one complete, synchronised inference on `feeds`: the only thing that is timed."""
        ...

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Give the time of each executed layer, or raise UnsupportedError."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Session: ...
    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Stateful(Session, Protocol):
    """A session that keeps states as its runtime's own handles."""

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Run once, reading and replacing handles in `states`; return the outputs that are no states."""
        ...


@runtime_checkable
class Backend(Protocol):
    """A runtime: what it takes, how it compiles, how it runs."""

    api: int
    name: str
    summary: str
    accepts: frozenset[str]
    """Model formats it builds from, as `onnx`."""
    options: type[Record]
    """The frozen dataclass of its runtime options; unknown keys in a target or recipe are errors."""

    def probe(self) -> Probe:
        """Say what is here; never raises, under a second, imports its runtime at most."""
        ...

    def supports(self, model: Model, target: Target) -> Support:
        """Say what is in the way, all of it. Pure: no device, no compile; at planning a model has no parts yet."""
        ...

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        """Compile into `workdir` (exists, empty). Raises BuildError or UnsupportedError; leaves the input alone."""
        ...

    def open(self, payload: Payload) -> Session:
        """Load what was built. The device side: its runtime and numpy only."""
        ...


@runtime_checkable
class WithRuntime(Backend, Protocol):
    """A backend whose runtime can be installed on a device."""

    runtime: Runtime


@runtime_checkable
class WithRecipes(Backend, Protocol):
    """A backend with recipes of its own."""

    recipes: Sequence[Recipe]
    """No name is one of another recipe; each names its precision."""
    default_recipes: Sequence[str]
    """The recipes, its own and built-in ones (`USUAL`), tried where a target's file names none; the first one first."""


@runtime_checkable
class WithPassDefaults(Backend, Protocol):
    """A backend that decides settings of passes, so that what they give is fast and exact on it."""

    def pass_defaults(self, pass_name: str, target: Target) -> Mapping[str, Any]:
        """Return the settings that a recipe does not say, of its own passes and of any other's.

        They come before those that the core takes by the target's processor (u8 or s8 activations, 7-bit weights).
        """
        ...


@runtime_checkable
class WithVariants(Backend, Protocol):
    """A backend that knows the models of a target's hardware: `nvidia-gpu:8.9` is one of `nvidia-gpu`."""

    def variant(self, target: Target, name: str) -> Target:
        """Return the target for one variant of its hardware. Raises UsageError for one that cannot be."""
        ...


@runtime_checkable
class Tunable(Backend, Protocol):
    """A backend with options that change the speed and not the outputs: they are tried on the shipped candidate."""

    def variants(self, payload: Payload, cores: int) -> tuple[Mapping[str, Any], ...]:
        """Give changes to the payload's options worth measuring on `cores` processors, the most promising first.

        Pure and quick: no runtime is loaded.
        """
        ...


def fewer_threads(cores: int) -> tuple[Mapping[str, Any], ...]:
    """Give halves of the processors down to one, for `variants`: small models lose more by handing out work than they
    gain.
    """
    counts = []
    while cores > 1:
        cores = (cores + 1) // 2
        counts.append({"threads": cores})
    return tuple(counts)


@runtime_checkable
class Finishable(Backend, Protocol):
    """A backend whose engines belong to the device that built them: `build` prepares a portable payload anywhere, and
    `finish` compiles it there.
    """

    def finish(self, payload: Payload, target: Target, workdir: Path) -> Built:
        """Compile on this machine, the device, what `build` prepared; `workdir` exists and may hold what an earlier try
        left.

        The files it gives take the place of the payload's. Raises BuildError, EnvironmentFault or UnsupportedError.
        """
        ...


@runtime_checkable
class Pass(Protocol):
    """A transformation: a frozen dataclass, a Record, whose fields are its config."""

    name: ClassVar[str]
    accepts: ClassVar[frozenset[str]]
    gives: ClassVar[str]
    needs_samples: ClassVar[bool]
    packages: ClassVar[tuple[str, ...]]
    """The distributions that `apply` imports: with another version of one, what it made before does not count."""

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the new model into `workdir` (exists, empty), assets included, with its Step added."""
        ...


@runtime_checkable
class WithInstall(Pass, Protocol):
    """A pass whose packages are installed by another line than `pip install` and their names."""

    install: ClassVar[str]


@runtime_checkable
class WithPrecision(Pass, Protocol):
    """A pass that changes the precision: a recipe in a file that does not say its own takes that of its passes."""

    @property
    def precision(self) -> str:
        """The precision of what it gives, by its config: f16, bf16, i8, i8-dynamic, i4-weights and the like."""
        ...


@runtime_checkable
class Repairable(Pass, Protocol):
    """A lossy pass that can leave layers alone, and say what each of them costs: misses of the gate are repaired."""

    exclude: tuple[str, ...]
    """Names of the layers to leave in float."""

    def costs(self, model: Model, samples: Feeds | None, workdir: Path) -> tuple[LayerCost, ...]:
        """Measure what each layer costs, the most expensive first; `workdir` (exists, empty) is scratch."""
        ...


@runtime_checkable
class Trainable(Pass, Protocol):
    """A pass that trains. It accepts and gives `torch`: it works on the live module, before the export, and stands
    before all passes on graphs.

    Passes on the live module leave the module they are given alone, write no file, and give
    `edgekit.frameworks.torch_pass.changed`'s model. One with `prunes = True` takes parts away: what it gives must be
    faster than the model without it, or is not shipped. Equal inputs give equal weights, killed and started again or
    not; what such a pass cannot take it refuses with a hint, and inputs and outputs keep their names and shapes.
    """

    trains: bool
    """False is what a pass without this attribute says; a property may tell it from the config."""

    def apply(self, model: Model, samples: Feeds | None, workdir: Path, training: Training | None = None) -> Model:
        """Give the trained model; `training` is there where `trains` is true."""
        ...


@runtime_checkable
class Pruning(Pass, Protocol):
    """A pass that may take parts of the model away: what it gives must be faster than the model without it."""

    prunes: bool


@runtime_checkable
class Mixable(Pass, Protocol):
    """A pass that makes layers faster or slower, and can leave layers alone: those that gain no time stay in float."""

    exclude: tuple[str, ...]
    """Names of the layers to leave in float."""

    def anatomy(self, model: Model, workdir: Path) -> Anatomy:
        """List the layers that it changes; `workdir` (exists, empty) is scratch."""
        ...


@runtime_checkable
class Source(Protocol):
    """A place that models come from."""

    scheme: str
    packages: tuple[str, ...]
    """The distributions that `load` and the original import, as a pass's."""
    gives: str
    """The format of its models: `torch` is a live module, which is exported to ONNX. The plan is made before anything
    is loaded."""

    def claims(self, ref: str) -> bool:
        """Say whether `ref` has this source's form; cheap, imports no framework."""
        ...

    def check(self, reference: Reference) -> None:
        """Raise UsageError for what can be seen without a framework: a missing file, a folder without a model."""
        ...

    def digest(self, reference: Reference) -> str | None:
        """Give a digest of all that decides the loaded model, without a framework; None when only loading can tell."""
        ...

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        """Load it, with its assets in `workdir/assets` and `original` set.

        `examples` is for a model that brings no example inputs; it reads the data, so it is called only where needed.
        """
        ...
