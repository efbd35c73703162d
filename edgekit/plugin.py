"""THE CONTRACT: what a plugin author implements. The protocols are here, with the values that they exchange.

A plugin is a distribution with an entry point in one of these groups; `edgekit.testing` has the test classes that
prove it. It imports `edgekit.plugin` and `edgekit.errors` and, where it builds, `edgekit.frameworks`; nothing else of
edgekit is public.

    edgekit.backends   a Backend: compiles a model for a target and runs it       (name = the backend's name)
    edgekit.passes     a Pass: model in, model out                                (name = the pass's name)
    edgekit.sources    a Source: reference in, model out                          (name = the scheme)
    edgekit.targets    a module whose folder holds target TOML files

A backend's module is imported to list and to plan, so its top level imports neither its runtime nor a framework. Build
side and device side are different modules: `open` needs the runtime and numpy only.
Raise edgekit's errors; translate your runtime's exceptions at this boundary and chain them.

The optional protocols are found by `isinstance`. Each lists only its own members, so that the check evaluates nothing
else (`Session.precision` may run the model).
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
    """A loaded part, ready to run. The code that opens it closes it.

    Threads may share it and its bound calls: each `run` returns the outputs of its own feeds.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def precision(self) -> Precision:
        """The precision that really runs, as the runtime reports it."""
        ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Check the feeds, run once, return all outputs, which the caller owns. Raises UsageError for bad feeds."""
        ...

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call that does one complete, synchronised inference on `feeds`: the only thing that is timed."""
        ...

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Return the time of each executed layer, or raise UnsupportedError."""
        ...

    def close(self) -> None:
        """Release the model; safe to call twice. A closed session, and its bound calls, raise UsageError."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A session that keeps states as the runtime's own handles, which need not be numpy arrays between calls."""

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Run once: read the part's states from `states`, write its new states there, and return the other outputs.

        It takes numpy arrays, as states start, and may write values of its own, by the state's name. These have, as
        arrays do, `__array__` and `take(order, axis=0)`: the rows that beams continue. No later call changes them.
        """
        ...


@runtime_checkable
class Threaded(Protocol):
    """A session that reports how many threads an inference uses."""

    @property
    def threads(self) -> int | None:
        """Return the number of threads; None where the device is not a processor."""
        ...


@runtime_checkable
class Backend(Protocol):
    """A runtime: the models it accepts, how it compiles and runs them."""

    api: int
    name: str
    summary: str
    accepts: frozenset[str]
    """The model formats that it builds from, as `onnx`."""
    options: type[Record]
    """The frozen dataclass of its runtime options; unknown keys in a target or recipe are errors."""

    def probe(self) -> Probe:
        """Return what this machine has; never raises, takes less than a second, imports at most its runtime."""
        ...

    def supports(self, model: Model, target: Target) -> Support:
        """Return every problem. Pure: no device, no compilation; at planning a model has no parts yet.

        The core calls it once for each candidate: `build` need not check again.
        """
        ...

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        """Compile a model of one part, for which `supports` found no problem, into `workdir` (exists, empty).

        Raises BuildError, or UnsupportedError for what only compiling shows; does not change its input.
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
    """Their names are unique among all recipes; each has its precision."""
    default_recipes: Sequence[str]
    """The names of the recipes, its own and built-in ones (`USUAL`), that are tried in this order where a target's file
    names none."""


@runtime_checkable
class WithPassDefaults(Protocol):
    """A backend with its own settings of passes, with which their results are fast and exact on it."""

    def pass_defaults(self, pass_name: str, target: Target) -> Mapping[str, Any]:
        """Return the settings of a pass, its own or any other, that a recipe leaves open.

        They take precedence over the core's, which follow from the processor (u8 or s8 activations, 7-bit weights).
        """
        ...


@runtime_checkable
class WithVariants(Protocol):
    """A backend whose targets have variants of their hardware: `nvidia-gpu:8.9` is one of `nvidia-gpu`."""

    def variant(self, target: Target, name: str) -> Target:
        """Return the target for a variant of its hardware. Raises UsageError for a variant that does not exist."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """A backend with options that change the speed, not the outputs: they are tried on the shipped candidate."""

    def variants(self, payload: Payload, cores: int) -> tuple[Mapping[str, Any], ...]:
        """Return changes to the payload's options to measure on `cores` processors, the most promising first.

        Pure and quick: it loads no runtime.
        """
        ...


@runtime_checkable
class Finishable(Protocol):
    """A backend whose engines run only on the device that built them: `build` prepares a portable payload on any
    machine, and `finish` compiles it on the device.
    """

    def finish(self, payload: Payload, target: Target, workdir: Path) -> Built:
        """Compile what `build` prepared, on this machine: the device. Its files replace the payload's.

        `workdir` may have files of an interrupted call. Raises BuildError, EnvironmentFault or UnsupportedError.
        """
        ...


class Generator(Protocol):
    """A loaded model that generates with its runtime's own loop."""

    def generate(self, ids: Sequence[int], most: int) -> Iterator[int]:
        """Yield the ids that follow `ids`, by greedy search, each as soon as it is known, at most `most` of them."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Generates(Protocol):
    """A backend whose runtime has its own generation loop, as onnxruntime-genai: a candidate in addition to ours."""

    def generator(self, payload: Payload) -> Generator:
        """Load what was built, for generation. The device side, as `open`."""
        ...


@runtime_checkable
class Pass(Protocol):
    """A transformation of a model: a frozen dataclass and Record whose fields are its config."""

    name: ClassVar[str]
    accepts: ClassVar[frozenset[str]]
    gives: ClassVar[str]
    needs_samples: ClassVar[bool]
    packages: ClassVar[tuple[str, ...]]
    """The distributions that `apply` imports: cached results of other versions are not used."""

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the new model into `workdir` (exists, empty), assets included, with its Step added."""
        ...


@runtime_checkable
class WithInstall(Protocol):
    """A pass whose packages are installed by another command than `pip install` and their names."""

    install: ClassVar[str]


@runtime_checkable
class WithPrecision(Protocol):
    """A pass that changes the precision: a recipe file without a precision takes that of its passes."""

    @property
    def precision(self) -> str:
        """The precision of its result, by its config: f16, bf16, i8, i8-dynamic, i4-weights and the like."""
        ...


@runtime_checkable
class Repairable(Protocol):
    """A lossy pass that measures each layer's cost and skips the layers in its field `exclude`: a candidate that misses
    the gate is repaired.
    """

    def costs(self, model: Model, samples: Feeds | None, workdir: Path) -> tuple[LayerCost, ...]:
        """Return each layer's measured cost, the highest first; `workdir` (exists, empty) is scratch."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """A pass that trains. It accepts and gives `torch`: it works on the nn.Module, before the export, so it comes
    before all passes on graphs.

    A pass on the module does not change the module that it is given, writes no file, and returns the model of
    `edgekit.frameworks.torch_pass.changed`. Equal inputs give equal weights, also after a kill and a restart. It raises
    an error with a hint for a module that it does not support, and keeps names and shapes of inputs and outputs.
    """

    trains: bool
    """False for a pass without this attribute; it may be a property that depends on the config."""

    def apply(self, model: Model, samples: Feeds | None, workdir: Path, training: Training | None = None) -> Model:
        """Return the trained model; `training` is given where `trains` is true."""
        ...


@runtime_checkable
class Pruning(Protocol):
    """A pass on the module that removes parts of it: a result that is not faster than the model without the pass
    is not shipped.
    """

    prunes: bool
    """False for a pass without this attribute."""


@runtime_checkable
class Mixable(Protocol):
    """A pass that makes layers faster or slower and skips the layers in its field `exclude`: layers that it does not
    make faster stay in float.
    """

    def layer_map(self, model: Model, workdir: Path) -> LayerMap:
        """Return the layers that it changes; `workdir` (exists, empty) is scratch."""
        ...


@runtime_checkable
class Source(Protocol):
    """A place where models are loaded from."""

    scheme: str
    packages: tuple[str, ...]
    """The distributions that `load` and the original import, as those of a pass."""
    gives: str
    """The format of its models, which a plan needs before anything is loaded: `torch` is an nn.Module, which is
    exported to ONNX."""

    def claims(self, ref: str) -> bool:
        """Return whether `ref` has this source's form; cheap, imports no framework."""
        ...

    def check(self, reference: Reference) -> None:
        """Raise UsageError for faults that are found without a framework: a missing file, a folder without a model."""
        ...

    def digest(self, reference: Reference) -> str | None:
        """Return a digest of all that decides the loaded model, without a framework; None where it must be loaded."""
        ...

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        """Load the model, with its assets in `workdir/assets` and `original` set.

        `examples` is for a model without example inputs; it reads the data, so it is called only where needed.
        """
        ...
