"""Export a model whose author names its graphs: each module through torch.export, into a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.frameworks import onnx_model
from edgekit.frameworks.torch_call import GraphCall
from edgekit.model import Model, Part, State
from edgekit.passes.export import dynamo


def export(model: Model, workdir: Path, opset: int) -> tuple[tuple[Part, ...], tuple[State, ...]]:
    """Write each graph, and return the parts and their states."""
    parts = []
    graphs: tuple[GraphCall, ...] = model.module
    for graph in graphs:
        (workdir / graph.name).mkdir()
        file = f"{graph.name}/{onnx_model.GRAPH_FILE}"
        dynamo.export(replace(model, module=graph.call), workdir / file, opset)
        proto = onnx_model.load(workdir / file, weights=False)
        part = onnx_model.part_of(proto, name=graph.name, file=file)
        parts.append(replace(part, reads=dict(graph.reads), writes=dict(graph.writes)))
    return tuple(parts), model.states
