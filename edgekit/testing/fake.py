"""A complete plugin in pure numpy: a source, a pass and a backend for small multi-layer perceptrons.

It does real arithmetic on real files and keeps the whole contract, so the pipeline can be tested from end to end
without a framework or a runtime; for plugin authors it is an example of each method.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit._record import Record, digest_of, digest_of_file
from edgekit.data import Feeds
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.model import ASSETS, Examples, Model, ModelInfo, Part, Reference, Step
from edgekit.plugin import API, Built, LayerTime, Payload, Precision, Probe, Support
from edgekit.spec import TensorSpec, check_feeds
from edgekit.target import host
from edgekit.target.target import Target
from edgekit.tasks.config import TabularConfig, TaskConfig
from edgekit.testing._mlp import FORMAT, Layer, forward, load, save, step

if TYPE_CHECKING:
    import numpy as np

FILE = "mlp.npz"


def write_model(
    folder: Path, layers: Sequence[tuple[np.ndarray, np.ndarray]], inputs: TensorSpec, outputs: TensorSpec
) -> Model:
    """Write float layers, each (weight [in, out], bias [out]), as a model of format `numpy-mlp` into `folder`."""
    save(folder / FILE, [{"w": weight, "b": bias} for weight, bias in layers])
    return Model(FORMAT, (Part("model", FILE, (inputs,), (outputs,)),), folder=folder)


# The source


@dataclass(frozen=True)
class FakeModel(Record):
    """The content of the JSON file of a `fake:` reference."""

    weights: str
    """An npz file beside it, in the format above."""
    labels: tuple[str, ...]
    features: tuple[str, ...]
    """Names of the input's columns."""


class FakeOriginal:
    """The float model as it was given: the reference for every candidate."""

    def __init__(self, layers: list[Layer]) -> None:
        import numpy

        self.framework = f"numpy {numpy.__version__}"
        self._layers = layers

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": forward(self._layers, feeds["features"])}


class FakeSource:
    """Load `fake:path/to/model.json`, a tabular classifier."""

    scheme = "fake"
    packages: tuple[str, ...] = ("numpy",)
    gives = FORMAT

    def claims(self, ref: str) -> bool:
        return ref.startswith("fake:")

    def check(self, reference: Reference) -> None:
        self._read(reference)

    def digest(self, reference: Reference) -> str | None:
        path, model = self._read(reference)
        return digest_of([digest_of_file(path), digest_of_file(path.parent / model.weights), reference.task])

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        path, described = self._read(reference)
        layers = load(path.parent / described.weights)
        sizes = layers[0]["w"].shape[0], layers[-1]["w"].shape[1]
        if sizes != (len(described.features), len(described.labels)):
            raise UsageError(
                f"'{path}' has {len(described.features)} features and {len(described.labels)} labels,"
                f" but its weights have {sizes[0]} and {sizes[1]}.",
                hint="write the weights again with the sizes of model.json",
            )
        inputs = TensorSpec("features", "f32", ("batch", sizes[0]))
        model = write_model(
            workdir,
            [(layer["w"], layer["b"]) for layer in layers],
            inputs,
            TensorSpec("logits", "f32", ("batch", sizes[1])),
        )
        task = reference.task or "tabular-classification"
        columns = TabularConfig(inputs.name, described.features)
        TaskConfig(task, described.labels, tabular=columns).save(workdir / ASSETS)
        return replace(model, task=task, info=ModelInfo(f"{len(layers)} layers"), original=FakeOriginal(layers))

    def _read(self, reference: Reference) -> tuple[Path, FakeModel]:
        path = Path(reference.ref.removeprefix("fake:"))
        try:
            model = FakeModel.from_dict(json.loads(path.read_text()), str(path))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"cannot read the model '{path}': {error}.", hint="give fake:path/to/model.json"
            ) from error
        if not (path.parent / model.weights).is_file():
            raise UsageError(
                f"the weights '{model.weights}' are not beside '{path}'.",
                hint="copy the weights beside the model's file",
            )
        return path, model


# The pass


@dataclass(frozen=True)
class FakeRound(Record):
    """Round the weights to int8, with a scale for each output channel; with fewer `bits` for tests of the gate."""

    name: ClassVar[str] = "fake-round"
    accepts: ClassVar[frozenset[str]] = frozenset({FORMAT})
    gives: ClassVar[str] = FORMAT
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    precision: ClassVar[str] = "i8-dynamic"

    bits: int = 8

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        import numpy

        if not 2 <= self.bits <= 8:
            raise UsageError(
                f"fake-round: bits = {self.bits} is not possible: it must be between 2 and 8.",
                hint="set bits = 8 in the recipe",
            )
        started = time.perf_counter()
        save(workdir / model.part.file, [self._round(layer) for layer in load(model.graph)])
        if model.assets.is_dir():
            shutil.copytree(model.assets, workdir / ASSETS)
        quantized = replace(model, precision="i8-dynamic", folder=workdir)
        tools = {"numpy": numpy.__version__}
        line = Step(self.name, self.to_dict(), tools, model.digest, quantized.digest, time.perf_counter() - started)
        return quantized.with_step(line)

    def _round(self, layer: Layer) -> Layer:
        import numpy

        if "s" in layer:
            raise UnsupportedError("fake-round needs float weights; these are already rounded.")
        most = 2 ** (self.bits - 1) - 1
        scale = numpy.maximum(numpy.abs(layer["w"]).max(axis=0), 1e-12).astype(numpy.float32) / most
        return {"w": numpy.rint(layer["w"] / scale).astype(numpy.int8), "b": layer["b"], "s": scale}


# The backend


@dataclass(frozen=True)
class FakeOptions(Record):
    """Options of the numpy backend."""

    repeat: int = 1
    """How often the arithmetic of each inference is repeated: for tests with slower candidates."""


class NumpyBackend:
    """Run `numpy-mlp` models with numpy."""

    api = API
    name = "numpy"
    summary = "pure numpy, for tests"
    accepts = frozenset({FORMAT})
    options: type[Record] = FakeOptions

    def probe(self) -> Probe:
        import numpy

        return Probe(True, {"numpy": numpy.__version__}, ("CPU",))

    def supports(self, model: Model, target: Target) -> Support:
        problems = []
        if model.format not in self.accepts:
            problems.append(f"numpy runs {FORMAT}, but the model is '{model.format}'")
        if model.precision not in ("f32", "i8-dynamic"):
            problems.append(f"numpy computes in f32 or i8-dynamic, but the model is {model.precision}")
        problems += target.shape_problems(spec for part in model.parts for spec in part.inputs)
        return Support(tuple(problems))

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        chosen = FakeOptions.from_dict(options, "numpy options")
        save(workdir / FILE, load(model.graph))
        return Built(
            files=(FILE,),
            requires={"packages": {"numpy": ">=1.26"}},
            options=chosen.to_dict(),
            evidence="parsed" if target.mismatches(host.probe()) else "built_on_device",
        )

    def open(self, payload: Payload) -> NumpySession:
        return NumpySession(payload)


class NumpySession:
    """A loaded model."""

    def __init__(self, payload: Payload) -> None:
        self.inputs, self.outputs = payload.part.inputs, payload.part.outputs
        self._repeat = FakeOptions.from_dict(payload.options).repeat
        self._layers: list[Layer] | None = load(payload.main)

    @property
    def precision(self) -> Precision:
        kinds = ["i8" if "s" in layer else "f32" for layer in self._open()]
        layers = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
        return Precision(max(layers, key=lambda kind: layers[kind]), layers)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        layers = self._open()
        check_feeds(self.inputs, feeds)
        return {self.outputs[0].name: forward(layers, feeds[self.inputs[0].name], self._repeat)}

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        self._open()
        check_feeds(self.inputs, feeds)
        array = feeds[self.inputs[0].name]

        def infer() -> None:
            forward(self._open(), array, self._repeat)

        return infer

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        check_feeds(self.inputs, feeds)
        array, times = feeds[self.inputs[0].name], []
        for index, layer in enumerate(self._open()):
            started = time.perf_counter_ns()
            array = step(layer, array if index == 0 else array.clip(min=0))
            kind = "i8" if "s" in layer else "f32"
            times.append(LayerTime(f"layer{index}", "Gemm", kind, (time.perf_counter_ns() - started) / 1e6))
        return tuple(times)

    def close(self) -> None:
        self._layers = None

    def _open(self) -> list[Layer]:
        if self._layers is None:
            raise EdgekitError("the session is closed.", hint="open the bundle again")
        return self._layers
