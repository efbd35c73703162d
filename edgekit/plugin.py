"""THE CONTRACT: what a plugin author implements. Protocols here, the values that they exchange beside them.

A plugin is a distribution with an entry point in one of these groups; `edgekit.testing` holds the test classes that
prove it. It imports `edgekit.plugin` and `edgekit.errors` and, where it builds, `edgekit.frameworks`; nothing else of
edgekit is public.

    edgekit.backends   a Backend: compiles a model for a target and runs it       (name = the backend's name)
    edgekit.passes     a Pass: model in, model out                                (name = the pass's name)
    edgekit.sources    a Source: reference in, model out                          (name = the scheme)
    edgekit.targets    a module whose folder holds target TOML files

A backend's module is imported to list or plan, so its top level imports neither its runtime nor a framework. Build
side and device side are different modules: what `open` needs is the runtime and numpy only.
Raise edgekit's errors; translate your runtime's exceptions at this boundary and chain them.

The optional protocols are found by `isinstance`. Each lists its own members alone, so whoever has those is one, and
nothing else is evaluated to find out (`Session.precision` may run the model).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from edgekit._contract import Built, Evidence, Payload, Precision, Probe, Support, Training, fewer_threads
from edgekit._files import replacing
from edgekit._privacy import no_telemetry
from edgekit._process import die_with
from edgekit._record import Record, digest_of_file
from edgekit._requirement import versions as package_versions
from edgekit.cache import fetch as cached_step
from edgekit.data import Feeds, TrainingData
from edgekit.layers import GraphLayer, LayerCost, LayerMap, LayerTime
from edgekit.model import ASSETS, Examples, InputHints, Model, ModelInfo, Original, Part, Reference, State, Step
from edgekit.progress import Progress
from edgekit.recipe.builtin import USUAL
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.runtime import KnownFault, Runtime
from edgekit.spec import Call, FeedCheck, ShapeRange, TensorSpec, check_feeds
from edgekit.target.host import Host
from edgekit.target.host import probe as probe_host
from edgekit.target.jetson import Jetson
from edgekit.target.jetson import probe as probe_jetson
from edgekit.target.target import Target

if TYPE_CHECKING:
    import numpy as np

__all__ = ["API", "Call"]
__all__ += ["Backend", "Finishable", "Generates", "Generator", "Session", "Stateful", "Threaded", "Tunable"]
__all__ += ["WithPassDefaults", "WithRecipes", "WithRuntime", "WithVariants"]
__all__ += ["Mixable", "Pass", "Pruning", "Repairable", "Source", "Trainable", "WithInstall", "WithPrecision"]
__all__ += ["Built", "Evidence", "Payload", "Precision", "Probe", "Support", "Training", "fewer_threads"]
__all__ += ["ASSETS", "Examples", "InputHints", "Model", "ModelInfo", "Original", "Part", "Reference", "State", "Step"]
__all__ += ["GraphLayer", "LayerCost", "LayerMap", "LayerTime", "Record", "ShapeRange", "Target", "TensorSpec"]
__all__ += ["USUAL", "Feeds", "KnownFault", "PassConfig", "Progress", "Recipe", "Runtime", "TrainingData"]
__all__ += ["FeedCheck", "cached_step", "check_feeds", "die_with", "digest_of_file", "no_telemetry", "package_versions"]
__all__ += ["Host", "Jetson", "probe_host", "probe_jetson", "replacing"]

API = 2
"""The contract's version; a plugin states the one it was written for."""


@runtime_checkable
class Session(Protocol):
    """A loaded part, ready to run. Who opens it closes it."""

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
        """Return a call that does one complete, synchronised inference on `feeds`: the only thing that is timed."""
        ...

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Return the time of each executed layer, or raise UnsupportedError."""
        ...

    def close(self) -> None:
        """Release the model; safe to call twice. A closed session, and what it bound, refuse work."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A session that keeps states as the runtime's own handles: they need not pass through numpy from call to call."""

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Run once: take what the part reads from `states`, put there what it writes, and return the other outputs.

        Values are the session's own, by the state's name; before the first call there are none but those that start
        `empty` or as `zeros`, in numpy.
        """
        ...


@runtime_checkable
class Threaded(Protocol):
    """A session that knows how many threads an inference uses: reports name it."""

    @property
    def threads(self) -> int | None:
        """Return the number; None where the device is not a processor."""
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
        """Return what is here; never raises, under a second, imports its runtime at most."""
        ...

    def supports(self, model: Model, target: Target) -> Support:
        """Return what is in the way, all of it. Pure: no device, no compile; at planning a model has no parts yet.

        The core asks, once for each candidate: `build` need not ask again.
        """
        ...

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        """Compile a model of one part, which `supports` was asked about, into `workdir` (exists, empty).

        Raises BuildError, or UnsupportedError for what only compiling shows; leaves the input alone.
        """
        ...

    def open(self, payload: Payload) -> Session:
        """Load what was built. The device side: its runtime and numpy only."""
        ...


@runtime_checkable
class WithRuntime(Protocol):
    """A backend whose runtime can be installed on a device."""

    runtime: Runtime


@runtime_checkable
class WithRecipes(Protocol):
    """A backend with recipes of its own."""

    recipes: Sequence[Recipe]
    """No name is one of another recipe; each names its precision."""
    default_recipes: Sequence[str]
    """The recipes, its own and built-in ones (`USUAL`), tried where a target's file names none; the first one first."""


@runtime_checkable
class WithPassDefaults(Protocol):
    """A backend that decides settings of passes, so that what they give is fast and exact on it."""

    def pass_defaults(self, pass_name: str, target: Target) -> Mapping[str, Any]:
        """Return the settings that a recipe does not say, of its own passes and of any other's.

        They come before those that the core takes by the target's processor (u8 or s8 activations, 7-bit weights).
        """
        ...


@runtime_checkable
class WithVariants(Protocol):
    """A backend that knows the models of a target's hardware: `nvidia-gpu:8.9` is one of `nvidia-gpu`."""

    def variant(self, target: Target, name: str) -> Target:
        """Return the target for one variant of its hardware. Raises UsageError for one that cannot be."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """A backend with options that change the speed and not the outputs: they are tried on the shipped candidate."""

    def variants(self, payload: Payload, cores: int) -> tuple[Mapping[str, Any], ...]:
        """Return changes to the payload's options worth measuring on `cores` processors, the most promising first.

        Pure and quick: no runtime is loaded.
        """
        ...


@runtime_checkable
class Finishable(Protocol):
    """A backend whose engines belong to the device that built them: `build` prepares a portable payload anywhere, and
    `finish` compiles it there.
    """

    def finish(self, payload: Payload, target: Target, workdir: Path) -> Built:
        """Compile on this machine, the device, what `build` prepared; `workdir` exists and may hold what an earlier try
        left.

        The files it gives take the place of the payload's. Raises BuildError, EnvironmentFault or UnsupportedError.
        """
        ...


class Generator(Protocol):
    """A loaded model that generates by its runtime's own loop."""

    def generate(self, ids: Sequence[int], most: int) -> Iterator[int]:
        """Yield the ids that follow `ids`, greedily, each as soon as it is known, at most `most` of them."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Generates(Protocol):
    """A backend whose runtime has a generation loop of its own, as onnxruntime-genai: it is a candidate beside ours."""

    def generator(self, payload: Payload) -> Generator:
        """Load what was built, to generate with it. The device side, as `open`."""
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
class WithInstall(Protocol):
    """A pass whose packages are installed by another line than `pip install` and their names."""

    install: ClassVar[str]


@runtime_checkable
class WithPrecision(Protocol):
    """A pass that changes the precision: a recipe in a file that does not say its own takes that of its passes."""

    @property
    def precision(self) -> str:
        """The precision of what it gives, by its config: f16, bf16, i8, i8-dynamic, i4-weights and the like."""
        ...


@runtime_checkable
class Repairable(Protocol):
    """A lossy pass that can say what each layer costs, and leaves those alone that its field `exclude` names: misses of
    the gate are repaired.
    """

    def costs(self, model: Model, samples: Feeds | None, workdir: Path) -> tuple[LayerCost, ...]:
        """Measure what each layer costs, the most expensive first; `workdir` (exists, empty) is scratch."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """A pass that trains. It accepts and gives `torch`: it works on the nn.Module, before the export, and stands
    before all passes on graphs.

    Passes on the module leave the module they are given alone, write no file, and give
    `edgekit.frameworks.torch_pass.changed`'s model. Equal inputs give equal weights, killed and started again or not;
    what such a pass cannot take it refuses with a hint, and inputs and outputs keep their names and shapes.
    """

    trains: bool
    """False is what a pass without this attribute says; a property may tell it from the config."""

    def apply(self, model: Model, samples: Feeds | None, workdir: Path, training: Training | None = None) -> Model:
        """Return the trained model; `training` is there where `trains` is true."""
        ...


@runtime_checkable
class Pruning(Protocol):
    """A pass on the module that takes parts away: what it gives must be faster than the model without it, or is
    not shipped.
    """

    prunes: bool
    """False is what a pass without this attribute says."""


@runtime_checkable
class Mixable(Protocol):
    """A pass that makes layers faster or slower, and leaves those alone that its field `exclude` names: what gains no
    time stays in float.
    """

    def layer_map(self, model: Model, workdir: Path) -> LayerMap:
        """List the layers that it changes; `workdir` (exists, empty) is scratch."""
        ...


@runtime_checkable
class Source(Protocol):
    """A place that models come from."""

    scheme: str
    packages: tuple[str, ...]
    """The distributions that `load` and the original import, as a pass's."""
    gives: str
    """The format of its models: `torch` is an nn.Module, which is exported to ONNX. The plan is made before anything
    is loaded."""

    def claims(self, ref: str) -> bool:
        """Return whether `ref` has this source's form; cheap, imports no framework."""
        ...

    def check(self, reference: Reference) -> None:
        """Raise UsageError for what can be seen without a framework: a missing file, a folder without a model."""
        ...

    def digest(self, reference: Reference) -> str | None:
        """Return a digest of all that decides the loaded model, without a framework; None where it must be loaded."""
        ...

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        """Load it, with its assets in `workdir/assets` and `original` set.

        `examples` is for a model that brings no example inputs; it reads the data, so it is called only where needed.
        """
        ...
