"""Export a torch model as one ONNX graph and fix its free sizes; of an ONNX model only the sizes are fixed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from edgekit import _requirement
from edgekit._record import Record, digest_of
from edgekit.data import Feeds
from edgekit.errors import BuildError, EdgekitError, UnsupportedError, UsageError
from edgekit.frameworks import onnx_classifier, onnx_graph, onnx_model, onnx_shapes
from edgekit.model import ASSETS, Model, Part, State, Step
from edgekit.spec import TensorSpec
from edgekit.tasks.config import ENCODED, TaskConfig

OPSET = 18
"""The lowest that both exporters write without converting; onnxruntime 1.14, OpenVINO 2023, TensorRT 10 read it."""

_MODULE_HINT = (
    "an operator, a branch on tensor values, or a first dimension that is not a batch may be the cause: --input "
    "name:dtype[dims] sets which sizes are free, --verbose shows more"
)

_TRANSFORMERS_HINT = (
    "its code has a branch or an operator that cannot be traced (--verbose shows where): wrap it in an nn.Module of "
    "your own whose forward avoids it, and pass package.module:factory that returns it with example inputs"
)

_GRAPHS_HINT = (
    "no option changes this: --verbose shows where it fails; its graphs and their states can be described by a factory "
    "of your own that returns edgekit.Graphs"
)

OPSETS = range(17, 23)
"""What optimum 2.1 and torch 2.13 both write."""


@dataclass(frozen=True)
class Export(Record):
    """Export to ONNX in full precision.

    Hugging Face models go through optimum, plain modules through torch.onnx (dynamo). Sizes in `shapes` become numbers;
    an image model whose preprocessing gives every picture one size gets that size.
    """

    name: ClassVar[str] = "export"
    accepts: ClassVar[frozenset[str]] = frozenset({"torch", "onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxscript")

    opset: int | None = None
    """None is OPSET; an ONNX file keeps its own."""
    shapes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.opset is not None and self.opset not in OPSETS:
            raise UsageError(
                f"opset {self.opset} cannot be exported.", hint=f"use one from {OPSETS[0]} to {OPSETS[-1]}"
            )

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write `model.onnx` and the assets into `workdir`. Raises BuildError with the exporter's reason."""
        start = time.perf_counter()
        onnx_model.copy_assets(model, workdir)
        config = TaskConfig.load(workdir / ASSETS)
        if model.format == "torch" and config is not None and (config.generation or config.calls):
            return self._export_parts(model, workdir, start, config)
        graph = workdir / onnx_model.GRAPH_FILE
        notes: tuple[str, ...] = ()
        if model.format == "onnx":
            onnx_model.copy_graph(model.graph, graph)
            before = model.digest
        else:
            loaded = model.info.source_digest or digest_of([model.info.architecture, model.info.parameters])
            before = model.steps[-1].after if model.steps else loaded
            notes = self._export(model, graph, config)
        proto = onnx_model.load(graph, weights=False)
        part = onnx_model.part_of(proto)
        hints = replace(model.input_hints, free_sizes=onnx_shapes.known_sizes(proto))
        fixed = onnx_shapes.fix_shapes(proto, {**_picture_size(config, part.inputs), **self.shapes})
        if fixed:
            onnx_model.rewrite(proto, graph)
            part = onnx_model.part_of(proto)
        opset = onnx_graph.opset(proto)
        if model.format == "onnx" and self.opset not in (None, opset):
            raise UsageError(
                f"the ONNX file has opset {opset}, not {self.opset} as asked: a file is used as it is.",
                hint="leave --opset out, or convert the file with onnx.version_converter first",
            )
        if model.format == "torch" and opset != (self.opset or OPSET):
            raise BuildError(
                f"the exporter wrote opset {opset}, not {self.opset or OPSET} as asked.",
                hint=f"export with opset {opset}, or another from {OPSETS[0]} to {OPSETS[-1]}",
            )
        if (parameters := model.info.parameters) is None:
            parameters = onnx_model.parameter_count(proto)
        info = replace(model.info, opset=opset, parameters=parameters)
        if config is not None and fixed:
            _with_fixed_length(config, part).save(workdir / ASSETS)
        states = model.states
        if model.format == "onnx":
            part, states = _with_states(part, model)
        exported = replace(
            model,
            format="onnx",
            parts=(part,),
            states=states,
            info=info,
            input_hints=hints,
            output_hints=onnx_classifier.output_hints(proto),
            folder=workdir,
            module=None,
            examples=None,
        )
        step = Step(
            name=self.name,
            config={**self.to_dict(), "opset": opset},
            tools=_requirement.versions(self.packages if model.format == "torch" else ("onnx",)),
            before=before,
            after=exported.digest,
            seconds=round(time.perf_counter() - start, 3),
            notes=(*notes, *(f"the size '{name}' is fixed" for name in fixed)),
        )
        return exported.with_step(step)

    def _export_parts(self, model: Model, workdir: Path, start: float, config: TaskConfig) -> Model:
        """Export a model of several graphs, or one that generates, with states between calls."""
        from edgekit.passes.export import causal, graphs, seq2seq

        # A model that generates keeps its batch free too: each row is a beam.
        if given := [name for name, size in self.shapes.items() if (name, size) != ("batch", 1)]:
            raise UnsupportedError(
                f"the sizes of a model of several graphs stay free; these are given: {', '.join(given)}.",
                hint="leave --shape out, or choose a target that takes free sizes, such as host",
            )
        with _reported(_MODULE_HINT if config.calls else _GRAPHS_HINT):
            exporter = graphs if config.calls else seq2seq if model.task in ENCODED else causal
            parts, states = exporter.export(model, workdir, self.opset or OPSET)
        loaded = model.info.source_digest or digest_of([model.info.architecture, model.info.parameters])
        exported = replace(
            model,
            format="onnx",
            parts=parts,
            states=states,
            info=replace(model.info, opset=self.opset or OPSET),
            folder=workdir,
            module=None,
        )
        step = Step(
            name=self.name,
            config={**self.to_dict(), "opset": self.opset or OPSET},
            tools=_requirement.versions(self.packages),
            before=model.steps[-1].after if model.steps else loaded,
            after=exported.digest,
            seconds=round(time.perf_counter() - start, 3),
        )
        return exported.with_step(step)

    def _export(self, model: Model, graph: Path, config: TaskConfig | None) -> tuple[str, ...]:
        from edgekit.passes.export import dynamo, optimum_exporter

        opset = self.opset or OPSET
        if model.info.exporter != "optimum":
            with _reported(_MODULE_HINT):
                return dynamo.export(model, graph, opset)
        with _reported(_TRANSFORMERS_HINT):
            return optimum_exporter.export(
                model, graph, opset, lambda inputs: {**_picture_size(config, inputs), **self.shapes}
            )


@contextlib.contextmanager
def _reported(hint: str) -> Iterator[None]:
    """Turn an exporter's exception into BuildError with its reason."""
    from edgekit.frameworks.quiet import quiet
    from edgekit.frameworks.torch_model import export_reason

    try:
        with quiet():
            yield
    except EdgekitError:
        raise
    except Exception as error:  # the tracers pass on whatever the model's code raises
        raise BuildError(
            f"the model cannot be exported to ONNX: {export_reason(error)}",
            hint=hint,
        ) from error


def _picture_size(config: TaskConfig | None, inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """Return the sizes of an image input's free dimensions where preprocessing gives every picture one size."""
    image = config.image if config is not None else None
    size = image and (image.crop or (image.size if image.resize == "exact" else None))
    spec = next((spec for spec in inputs if image and spec.name == image.input), None)
    if not image or not size or spec is None or len(spec.shape) != 4:
        return {}
    channels = 1 if image.channels == "gray" else 3
    sizes = (channels, *size) if image.layout == "nchw" else (*size, channels)
    return {dim: number for dim, number in zip(spec.shape[1:], sizes, strict=True) if isinstance(dim, str)}


def _with_fixed_length(config: TaskConfig, part: Part) -> TaskConfig:
    """Return the config that pads and truncates texts to the length that the graph now has."""
    if config.text is None:
        return config
    lengths = [spec.shape[1] for spec in part.inputs if spec.name in config.text.inputs and len(spec.shape) == 2]
    if not lengths or not isinstance(lengths[0], int):
        return config
    length = lengths[0]
    limit = min(config.text.max_length or length, length)
    return replace(config, text=replace(config.text, pad_to=length, max_length=limit))


def _with_states(part: Part, model: Model) -> tuple[Part, tuple[State, ...]]:
    """Return the part with the states of the model that it was made from, and these with the sizes that it has now."""
    reads, specs = model.part.reads, {spec.name: spec for spec in part.inputs}
    sizes = {state: specs[name].shape for name, state in reads.items()}
    states = tuple(
        replace(state, spec=replace(state.spec, shape=sizes.get(state.name, state.spec.shape)))
        for state in model.states
    )
    return replace(part, reads=reads, writes=model.part.writes), states
