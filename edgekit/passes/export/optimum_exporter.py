"""Export a transformers model through optimum: its configs know inputs, outputs and what to patch for tracing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.frameworks import onnx_model
from edgekit.model import Model

_FACTS = ("num_channels", "num_labels", "num_classes", "num_queries")
"""Names that optimum has for what the weights fix."""

_SURE = ("batch_size", "sequence_length")
"""Names that mean the same wherever they occur, so that most models need no run."""


def export(model: Model, graph: Path, opset: int) -> tuple[str, ...]:
    """Write `graph`; give notes. What optimum's validation would do is left to verify, on the user's data."""
    import torch
    from optimum.exporters.onnx.convert import export as export_one

    from edgekit.frameworks import optimum_config

    config = optimum_config.exporter_config(model.module, model.task or "feature-extraction")
    # optimum's own fix of free sizes starts an onnxruntime session on every export: a second copy of the weights.
    with torch.no_grad():
        export_one(model.module, config, graph, opset=opset, device="cpu", disable_dynamic_axes_fix=True)
    _settle_sizes(model, graph, config)
    return ()


def _settle_sizes(model: Model, graph: Path, config: Any) -> None:
    """Write the sizes that are called free and are not, and part those that share a name and differ.

    The tracer calls free what it cannot tell, optimum calls free what the weights fix (`num_labels`), and gives a dense
    output the names of its input's height and width. The original, run on example inputs, tells.
    """
    proto = onnx_model.load(graph, weights=False)
    before = onnx_model.part_of(proto)
    feeds = config.generate_dummy_inputs(framework="np")
    asked = {name for sizes in (*config.inputs.values(), *config.outputs.values()) for name in sizes.values()}
    sizes: dict[str, int] = {}
    for value in proto.graph.input:
        for dim, size in zip(_dims(value), feeds[value.name].shape, strict=True):
            if dim.dim_param in _FACTS:
                dim.dim_value = size
            elif dim.dim_param:
                sizes.setdefault(dim.dim_param, size)
    open_dims = [
        (value.name, index, dim)
        for value in proto.graph.output
        for index, dim in enumerate(_dims(value))
        if not dim.HasField("dim_value") and (dim.dim_param in _FACTS or dim.dim_param not in _SURE)
    ]
    if open_dims:
        shapes = _output_shapes(model, feeds)
        for name, index, dim in open_dims:
            size = shapes[name][index]
            if dim.dim_param in _FACTS or dim.dim_param not in asked:
                dim.dim_value = size
            elif sizes.get(dim.dim_param, size) != size:
                dim.dim_param = f"{name}_{dim.dim_param}"
    if onnx_model.part_of(proto) != before:
        onnx_model.rewrite(proto, graph)


def _output_shapes(model: Model, feeds: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    if model.original is None:
        raise EdgekitError("a model to export needs its original, which tells the sizes of its outputs.")
    return {name: array.shape for name, array in model.original.run(feeds).items()}


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim
