"""Read ONNX graphs that others wrote, on the build side: for plugins and passes alike. Imports onnx on use.

What edgekit keeps as a model of its own is read and written by `onnx_model.py`. A plugin's device side imports
nothing here.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import BuildError, EnvironmentFault


def read(path: Path) -> Any:
    """Give the ModelProto without its external data. Raises BuildError when the file is no ONNX graph."""
    try:
        import onnx
    except ImportError as error:
        raise EnvironmentFault(
            "building needs the package onnx, which does not import.", hint="pip install onnx"
        ) from error
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise BuildError(f"'{path.name}' cannot be read as an ONNX graph: {error}.") from error


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node, those of inner graphs and of the model's own functions included."""
    for holder in (model.graph, *model.functions):
        yield from _nodes_of(holder)


def foreign(model: Any, domains: Collection[str]) -> Iterator[Any]:
    """Yield the nodes of operators that are of none of these domains and no function of the model's own."""
    own = {(function.domain, function.name) for function in model.functions}
    for node in nodes(model):
        if node.domain not in domains and (node.domain, node.op_type) not in own:
            yield node


def bodies(node: Any) -> list[Any]:
    """List the inner graphs of an If, Loop or Scan."""
    return [
        inner
        for attribute in node.attribute
        for inner in ([attribute.g] if attribute.HasField("g") else attribute.graphs)
    ]


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and every graph nested in its nodes."""
    yield graph
    for node in graph.node:
        for inner in bodies(node):
            yield from graphs(inner)


def name_of(node: Any) -> str:
    """Name a node for people: by its name, or by its first output where it has none."""
    return f"'{node.name}'" if node.name else f"that gives '{node.output[0] if node.output else '?'}'"


def describe(node: Any) -> str:
    """Name an operator, its domain and its node."""
    return f"{node.op_type} of domain '{node.domain or 'ai.onnx'}' (node {name_of(node)})"


def opset(model: Any) -> int:
    """Give the version of the standard operators that the graph asks for, 0 where it imports none."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def external_files(model: Any) -> tuple[str, ...]:
    """List the files beside the graph that hold its weights, relative to it, sorted."""
    tensors = [tensor for graph in graphs(model.graph) for tensor in graph.initializer]
    for node in nodes(model):
        for attribute in node.attribute:
            tensors += (attribute.t, *attribute.tensors)
    external = [tensor for tensor in tensors if tensor.data_location == 1]  # TensorProto.EXTERNAL
    return tuple(
        sorted({entry.value for tensor in external for entry in tensor.external_data if entry.key == "location"})
    )


def lay_down(
    source: Path, external: Collection[str], folder: Path, *, name: str, taken: Collection[str] = ()
) -> tuple[str, ...]:
    """Copy the graph at `source` into `folder` under `name`, with its `external_files`; give what lies there now.

    Raises BuildError for weights outside the graph's folder, or under a name that is `taken`.
    """
    for location in external:
        path = PurePosixPath(location)
        if path.is_absolute() or ".." in path.parts or location in (name, *taken):
            raise BuildError(f"the graph keeps weights in '{location}', outside its own folder.")
        file = folder / location
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / location, file)
    shutil.copyfile(source, folder / name)
    return (name, *external)


def _nodes_of(holder: Any) -> Iterator[Any]:
    for node in holder.node:
        yield node
        for inner in bodies(node):
            yield from _nodes_of(inner)
