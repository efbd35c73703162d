"""A model on its way to a device: its graphs, its assets and the steps that made it.

A Model owns a folder: graph files, `assets/` (what the device needs in addition to the graph) and `model.json`.
A pass reads one Model and writes another into an empty folder; it never changes its input.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from edgekit._files import replacing
from edgekit._record import TRANSIENT, Record, digest_of, digest_of_file
from edgekit.errors import ArtifactError, UsageError, nearest
from edgekit.spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

ASSETS = "assets"
RECORD_FILE = "model.json"

Examples = Callable[[], "Mapping[str, np.ndarray] | None"]
"""Reads the user's first sample as feeds by name; None without data, and for images and texts, whose shape only the
graph or a processor has."""


class Original(Protocol):
    """The model as its author wrote it, in its own framework: every candidate is compared with it."""

    @property
    def framework(self) -> str:
        """The framework and its version, as `torch 2.13.0`."""
        ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs under the names that the exported graph has."""
        ...


@runtime_checkable
class OriginalOfParts(Protocol):
    """An original of several parts, which keeps its own states from call to call; `run` runs its first part."""

    def start(self) -> None:
        """Forget every state, as before the first call of a sample."""
        ...

    def run_part(self, part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one part and return its outputs, without those that are states, by the names in its graph."""
        ...


@dataclass(frozen=True)
class Reference(Record):
    """Which model to load, and what the user allows while loading it."""

    ref: str
    """`./folder`, `hf:org/name`, `model.onnx`, `package.module:factory`, or the name of an embedded model."""
    task: str | None = None
    processor: str | None = None
    """A folder or file with the tokenizer or image processor, for a model without one."""
    inputs: tuple[TensorSpec, ...] = ()
    """Input specs for a plain module without example inputs."""
    states: tuple[str, ...] = ()
    """States of an ONNX file, as `input=output`, or `input=output:empty` for one that grows."""
    revision: str | None = None
    offline: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False


@dataclass(frozen=True)
class Outline(Record):
    """What the files of a model say about it before it is loaded, so that data that cannot fit is refused at once."""

    task: str | None = None
    takes: Literal["texts", "pictures", "sounds"] | None = None
    labels: tuple[str, ...] = ()
    """The names of its classes by index; empty where it does not answer with one class of several."""


@runtime_checkable
class Outlined(Protocol):
    """A source that reads a model's outline."""

    def outline(self, reference: Reference) -> Outline | None:
        """Return the outline, without a framework and without a network; None where the files do not show it."""
        ...


@dataclass(frozen=True)
class Step(Record):
    """One step of the lineage: its config and tools, the digests before and after it, and its time."""

    name: str
    config: Mapping[str, Any]
    tools: Mapping[str, str]
    before: str
    after: str
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part(Record):
    """One graph of a model; most models have one, named `model`."""

    name: str
    file: str
    """Path relative to the model's folder, and inside it."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reads: Mapping[str, str] = field(default_factory=dict)
    """Input to state: not fed, but read from the part that wrote the state last."""
    writes: Mapping[str, str] = field(default_factory=dict)
    """Output to state: kept for the parts that read it, not returned."""

    def __post_init__(self) -> None:
        path = PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise UsageError(
                f"the file '{self.file}' of part '{self.name}' is not inside the model's folder.",
                hint="name it relative to that folder, without '..'",
            )
        for verb, tensors, specs in (("reads", self.reads, self.inputs), ("writes", self.writes, self.outputs)):
            names = [spec.name for spec in specs]
            for tensor in tensors:
                if tensor not in names:
                    kind = "input" if verb == "reads" else "output"
                    raise UsageError(
                        f"part '{self.name}' {verb} a state through '{tensor}', which is not one of its {kind}s."
                        f"{nearest(tensor, names)}",
                        hint=f"its {kind}s: {', '.join(names) or 'none'}",
                    )

    @property
    def fed(self) -> tuple[TensorSpec, ...]:
        """The inputs that a caller feeds: those that are not states."""
        return tuple(spec for spec in self.inputs if spec.name not in self.reads)

    @property
    def given(self) -> tuple[TensorSpec, ...]:
        """The outputs that a caller gets: those that are not states."""
        return tuple(spec for spec in self.outputs if spec.name not in self.writes)


@dataclass(frozen=True)
class State(Record):
    """A tensor that the parts of a model pass from one call to the next, as the keys and values of a decoder."""

    name: str
    spec: TensorSpec
    start: Literal["written", "empty", "zeros"] = "written"
    """Before the first call: `written` by a part before another reads it, `empty` (free sizes are 0) or `zeros` (free
    sizes are 1). A free size that comes first is the batch, and is 1."""

    def first(self) -> np.ndarray:
        """Return what a state that is not `written` is before the first call."""
        import numpy as np

        free = 0 if self.start == "empty" else 1
        sizes = [size if isinstance(size, int) else free if place else 1 for place, size in enumerate(self.spec.shape)]
        return np.zeros(sizes, self.spec.numpy_dtype)

    def grown_bytes(self, tokens: int, rows: int = 1) -> int:
        """Return the bytes of a state that starts empty once it holds so many tokens of each row; 0 of another."""
        import numpy as np

        if self.start != "empty":
            return 0
        batch, *others = self.spec.shape
        sizes = [rows if isinstance(batch, str) else batch]
        sizes += [tokens if isinstance(size, str) else size for size in others]
        return math.prod(sizes) * np.dtype(self.spec.numpy_dtype).itemsize


def check_states(parts: Sequence[Part], states: Sequence[State]) -> None:
    """Raise UsageError for repeated names, and for a part that reads or writes a state that is not in `states`."""
    for kind, names in (("parts", [part.name for part in parts]), ("states", [state.name for state in states])):
        if len(set(names)) != len(names):
            raise UsageError(
                f"two {kind} of the model have the same name: {', '.join(names)}.", hint="give each its own name"
            )
    known = [state.name for state in states]
    for part in parts:
        for name in (*part.reads.values(), *part.writes.values()):
            if name not in known:
                raise UsageError(
                    f"part '{part.name}' names the state '{name}', which the model does not have."
                    f"{nearest(name, known)}",
                    hint=f"its states: {', '.join(known) or 'none'}",
                )


@dataclass(frozen=True)
class ModelInfo(Record):
    """Facts of a model and its origin."""

    architecture: str | None = None
    """The class of its network, or the tool that wrote its graph."""
    parameters: int | None = None
    """The number of weights; shared ones count once."""
    exporter: Literal["optimum", "dynamo"] | None = None
    """The exporter that converts a torch model to a graph: optimum for transformers models, else torch's own."""
    source_digest: str | None = None
    """The digest of the files that it was loaded from; None where it depends on the loaded model."""
    opset: int | None = None
    """The opset of an ONNX graph."""
    notes: tuple[str, ...] = ()
    """What the source changed in the model, for the report."""
    trusted: tuple[str, ...] = ()
    """Files that could run code when they were read, and were allowed by the user: `pickle: pytorch_model.bin`."""


@dataclass(frozen=True)
class InputHints(Record):
    """Facts about a model's inputs that are not in their specs: needed to generate inputs and to fix sizes."""

    free_sizes: tuple[str, ...] | None = None
    """Every name by which a free size of the graph can be fixed, sorted; None where no graph was read."""
    example_sizes: Mapping[str, int] = field(default_factory=dict)
    """A number of elements that the model accepts for each of its free sizes but the batch, by name."""
    integer_ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The lowest and the highest value, both inclusive, of integer inputs, by the input's name."""
    vocabulary_size: int | None = None
    """The number of token ids, which start at 0."""
    end_token: int | None = None
    """The token id that ends each text, where the model answers from its place."""


@dataclass(frozen=True)
class OutputHints(Record):
    """Facts about a model's outputs that its graph shows and their specs do not."""

    probabilities: tuple[str, ...] = ()
    """The outputs that hold probabilities: they end in a sigmoid or softmax, or in a classifier's own."""


@dataclass(frozen=True)
class Model(Record):
    """A model in `folder`; one of format `torch` is in memory and has no parts yet."""

    format: str
    """`torch`, `onnx`, or the format that a plugin's pass gives."""
    parts: tuple[Part, ...] = ()
    states: tuple[State, ...] = ()
    """The tensors that the parts pass from call to call."""
    task: str | None = None
    precision: str = "f32"
    """The requested precision: f32, f16, bf16, i8, i8-dynamic, i8-weights, i4-weights, or a mix such as `i8+bf16`."""
    steps: tuple[Step, ...] = ()
    info: ModelInfo = field(default_factory=ModelInfo)
    input_hints: InputHints = field(default_factory=InputHints)
    output_hints: OutputHints = field(default_factory=OutputHints)
    folder: Path = field(default=Path(), metadata=TRANSIENT)
    module: Any = field(default=None, metadata=TRANSIENT, compare=False, repr=False)
    """The framework's object of a `torch` model, in memory."""
    examples: Mapping[str, Any] | None = field(default=None, metadata=TRANSIENT, compare=False, repr=False)
    """The inputs that the user gave with a transformers model, by argument name."""
    original: Original | None = field(default=None, metadata=TRANSIENT, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_states(self.parts, self.states)

    @property
    def part(self) -> Part:
        """Return the one part of a single-graph model."""
        if len(self.parts) != 1:
            names = ", ".join(part.name for part in self.parts)
            raise ArtifactError(
                f"one graph is expected; the {self.format} model has {len(self.parts)}{f' ({names})' if names else ''}."
            )
        return self.parts[0]

    @property
    def is_single(self) -> bool:
        """Whether the model is one graph without states, so that one call answers."""
        return len(self.parts) == 1 and not self.states

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that a sample is prepared for: those of the first part, which are not states."""
        return self.parts[0].fed

    def only(self, name: str) -> Model:
        """Return the model of one part, with the states that it reads or writes: a backend builds such models.

        Of several parts, each in a folder of its own, it is the model in that folder, which has no assets. Raises
        UsageError for a part that the model does not have.
        """
        if [part.name for part in self.parts] == [name]:
            return self
        part = next((part for part in self.parts if part.name == name), None)
        if part is None:
            names = [part.name for part in self.parts]
            raise UsageError(
                f"the {self.format} model has no part '{name}'.{nearest(name, names)}",
                hint=f"its parts: {', '.join(names) or 'none'}",
            )
        own = {*part.reads.values(), *part.writes.values()}
        file = PurePosixPath(part.file)
        return replace(
            self,
            parts=(replace(part, file=file.name),),
            states=tuple(state for state in self.states if state.name in own),
            folder=self.folder / file.parent,
        )

    @property
    def graph(self) -> Path:
        """Return the path of the one graph file of a single-graph model."""
        return self.folder / self.part.file

    @property
    def assets(self) -> Path:
        return self.folder / ASSETS

    def files(self) -> tuple[Path, ...]:
        """Return every file of the model but its record, sorted. Raises ArtifactError for a model without a folder."""
        if self.folder == Path():  # the default, which would be the working directory with all its files
            raise ArtifactError(f"the {self.format} model has no folder, so it has no files.")
        record = self.folder / RECORD_FILE
        return tuple(sorted(path for path in self.folder.rglob("*") if path.is_file() and path != record))

    @functools.cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the names and bytes of the files; it is computed once, so they must be final."""
        return digest_of([[path.relative_to(self.folder).as_posix(), digest_of_file(path)] for path in self.files()])

    def with_step(self, step: Step) -> Model:
        return replace(self, steps=(*self.steps, step))

    def save(self) -> None:
        """Write `model.json` into the folder, completely or not at all."""
        path = self.folder / RECORD_FILE
        with replacing(path) as file:
            file.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read the model that `save` wrote. Raises ArtifactError for a record or a graph file that is missing."""
        path = folder / RECORD_FILE
        try:
            model = replace(cls.from_dict(json.loads(path.read_text()), str(path)), folder=folder)
        except (OSError, ValueError, UsageError) as error:
            raise ArtifactError(f"cannot read the model record '{path}': {error}.") from error
        for part in model.parts:
            if not (folder / part.file).is_file():
                raise ArtifactError(f"the model in '{folder}' lacks its graph file '{part.file}'.")
        return model
