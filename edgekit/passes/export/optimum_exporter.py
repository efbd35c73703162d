"""Export a transformers model through optimum: its configs have the inputs, the outputs and the patches for tracing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, EdgekitError, UnsupportedError
from edgekit.frameworks import onnx_model, onnx_shapes
from edgekit.model import Model
from edgekit.spec import TensorSpec

_FIXED_SIZES = ("num_channels", "num_labels", "num_classes", "num_queries")
"""Names of optimum for sizes that the weights fix."""

_TRACED = ("batch_size", "height", "width", "sequence_length", "audio_sequence_length", "nb_max_frames")
"""Sizes of example inputs that optimum takes by these names."""

_COMMON_SIZES = ("batch_size", "sequence_length")
"""Names that mean the same size wherever they occur, so that most models need no run."""


def export(
    model: Model, graph: Path, opset: int, sizes: Callable[[Sequence[TensorSpec]], Mapping[str, int]]
) -> tuple[str, ...]:
    """Write `graph` and return notes; `sizes` returns the free sizes that will be fixed, with which it is traced.

    Instead of optimum's validation, verify compares outputs on the user's data; here the graph is run with free sizes
    other than the traced ones, and UnsupportedError names those that the graph is not valid for.
    """
    from edgekit.frameworks import optimum_config

    config = optimum_config.exporter_config(model.module, model.task or "feature-extraction", model.examples)
    fixed = sizes(optimum_config.input_specs(config))
    fixed = {**fixed, **{onnx_shapes.ALIASES.get(name, name): size for name, size in fixed.items()}}
    known = {**optimum_config.picture(config), **{name: size for name, size in fixed.items() if name in _TRACED}}
    try:
        _trace(model, graph, opset, config, known, fixed)
    except Exception as error:  # the tracer passes on whatever the model's code raises
        if isinstance(error, EdgekitError) and not isinstance(error, (UnsupportedError, BuildError)):
            raise
        return _whole_forward(model, graph, opset, config, known, fixed, error)
    return ()


def _trace(
    model: Model, graph: Path, opset: int, config: Any, known: Mapping[str, int], fixed: Mapping[str, int]
) -> None:
    import torch
    from optimum.exporters.onnx.convert import export as export_one

    from edgekit.passes.export import free_sizes

    # optimum's own fix of free sizes starts an onnxruntime session on every export: a second copy of the weights.
    with torch.no_grad():
        export_one(
            model.module,
            config,
            graph,
            opset=opset,
            device="cpu",
            disable_dynamic_axes_fix=True,
            input_shapes=dict(known),
        )
    _correct_sizes(model, graph, config, known)
    free_sizes.check(model, graph, config.generate_dummy_inputs(framework="np", **known), fixed)


def _whole_forward(
    model: Model,
    graph: Path,
    opset: int,
    config: Any,
    known: Mapping[str, int],
    fixed: Mapping[str, int],
    first: Exception,
) -> tuple[str, ...]:
    """Export with torch.export what the tracer failed on, with free sizes, else with the traced ones to see if they
    would do. Raises UnsupportedError with the --shape that helps, else BuildError with the reasons of both.
    """
    from edgekit.frameworks import traced_config
    from edgekit.frameworks.torch_model import export_reason
    from edgekit.passes.export import free_sizes, whole_forward

    examples = config.generate_dummy_inputs(framework="pt", **known)
    feeds = {name: value.numpy() for name, value in traced_config.resized(examples, config.inputs, fixed).items()}
    symbols = free_sizes.symbols(config, feeds, fixed)
    problem = ""
    for free in (True, False) if symbols else (True,):
        try:
            whole_forward.export(model, graph, opset, config, feeds, (*fixed, *(() if free else symbols)))
            free_sizes.check(model, graph, feeds, fixed)
        except UnsupportedError as error:
            raise error from first
        except Exception as error:  # torch.export's own, and whatever the model's code raises
            problem = problem or export_reason(error)
            continue
        if not free:
            raise free_sizes.refusal(model, symbols) from first
        return (f"exported with torch.export: the tracer failed ({export_reason(first)[:200]})",)
    if isinstance(first, UnsupportedError):
        raise first
    raise BuildError(
        f"neither the tracer nor torch.export translates the forward of '{model.info.architecture}': "
        f"{export_reason(first)[:200]}; {problem[:200]}",
        hint="no option changes this: it takes another architecture, or other code in that forward",
    ) from first


def _correct_sizes(model: Model, graph: Path, config: Any, known: Mapping[str, int]) -> None:
    """Fix the sizes that only have a free size's name, and rename those that share a name and differ.

    The tracer marks as free what it cannot infer, optimum what the weights fix (`num_labels`), and optimum gives a
    dense output the names of its input's height and width. The original's outputs on example inputs decide.
    """
    proto = onnx_model.load(graph, weights=False)
    before = onnx_model.part_of(proto)
    feeds = config.generate_dummy_inputs(framework="np", **known)
    declared = {name for sizes in (*config.inputs.values(), *config.outputs.values()) for name in sizes.values()}
    sizes: dict[str, int] = {}
    for value in proto.graph.input:
        for dim, size in zip(_dims(value), feeds[value.name].shape, strict=True):
            if dim.dim_param in _FIXED_SIZES:
                dim.dim_value = size
            elif dim.dim_param:
                sizes.setdefault(dim.dim_param, size)
    open_dims = [
        (value.name, index, dim)
        for value in proto.graph.output
        for index, dim in enumerate(_dims(value))
        if not dim.HasField("dim_value") and (dim.dim_param in _FIXED_SIZES or dim.dim_param not in _COMMON_SIZES)
    ]
    if open_dims:
        shapes = _output_shapes(model, feeds)
        for name, index, dim in open_dims:
            size = shapes[name][index]
            if dim.dim_param in _FIXED_SIZES or dim.dim_param not in declared:
                dim.dim_value = size
            elif sizes.get(dim.dim_param, size) != size:
                dim.dim_param = f"{name}_{dim.dim_param}"
    if onnx_model.part_of(proto) != before:
        onnx_model.rewrite(proto, graph)


def _output_shapes(model: Model, feeds: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    if model.original is None:
        raise EdgekitError("a model to export needs its original, which is run for the sizes of its outputs.")
    return {name: array.shape for name, array in model.original.run(feeds).items()}


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim
