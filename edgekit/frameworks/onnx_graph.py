"""Read any ONNX graph on the build side; used by plugins and passes. Imports onnx on use.

The ONNX files that edgekit writes as models are read and written by `onnx_model.py`. A plugin's device side imports
nothing from here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import BuildError, EnvironmentFault


def read(path: Path) -> Any:
    """Return the ModelProto without its external data. Raises BuildError when the file is not an ONNX graph."""
    try:
        import onnx
    except ImportError as error:
        raise EnvironmentFault(
            "building needs the package onnx, which cannot be imported.", hint="pip install onnx"
        ) from error
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise BuildError(f"'{path.name}' cannot be read as an ONNX graph: {error}.") from error


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node, also those of inner graphs and of the model's own functions."""
    for holder in (model.graph, *model.functions):
        yield from _nodes_of(holder)


EXACT = "edgekit.exact"
"""The metadata of a graph with packed weights whose activations stay in float in a runtime that would round them."""


def mark_exact(model: Any) -> None:
    """Mark a graph with packed weights: its runtime must not round activations."""
    mark = model.metadata_props.add()
    mark.key, mark.value = EXACT, "1"


def is_exact(model: Any) -> bool:
    """Return whether a graph has the mark of `mark_exact`."""
    return any(prop.key == EXACT for prop in model.metadata_props)


_MESSAGE, _STRING = 11, 9
"""protobuf's types of fields."""


def not_text(message: Any) -> bytes | None:
    """Return a name in a model that is not UTF-8, which protobuf gives as bytes; None where there is none.

    Descriptions have no effect and may have any encoding.
    """
    fields = [(None, message.name)] if message.DESCRIPTOR.name == "TensorProto" else message.ListFields()
    for field, value in fields:
        several = (value,) if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value
        if field is None or (field.type == _STRING and field.name != "doc_string"):
            wrong = next((each for each in several if isinstance(each, bytes)), None)
        elif field.type == _MESSAGE:
            wrong = next((each for each in map(not_text, several) if each is not None), None)
        else:
            continue
        if wrong is not None:
            return wrong
    return None


def foreign(model: Any, domains: Collection[str]) -> Iterator[Any]:
    """Yield the nodes whose operator is neither of one of these domains nor one of the model's own functions."""
    own = {(function.domain, function.name) for function in model.functions}
    for node in nodes(model):
        if node.domain not in domains and (node.domain, node.op_type) not in own:
            yield node


def bodies(node: Any) -> list[Any]:
    """Return the inner graphs of an If, Loop or Scan."""
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
    """Return how messages refer to a node: by its name, or by its first output where it has none."""
    return f"'{node.name}'" if node.name else f"with the output '{node.output[0] if node.output else '?'}'"


def describe(node: Any) -> str:
    """Return how messages refer to an operator: its type, its domain and its node."""
    return f"{node.op_type} of domain '{node.domain or 'ai.onnx'}' (node {name_of(node)})"


def opset(model: Any) -> int:
    """Return the version of the standard operators that the graph imports, 0 where it imports none."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def external_files(model: Any) -> tuple[str, ...]:
    """Return the files beside the graph that hold its weights, relative to it, sorted."""
    tensors = [tensor for graph in graphs(model.graph) for tensor in graph.initializer]
    for node in nodes(model):
        for attribute in node.attribute:
            tensors += (attribute.t, *attribute.tensors)
    external = [tensor for tensor in tensors if tensor.data_location == 1]  # TensorProto.EXTERNAL
    return tuple(
        sorted({entry.value for tensor in external for entry in tensor.external_data if entry.key == "location"})
    )


def copy_model(
    source: Path, external: Collection[str], folder: Path, *, name: str, taken: Collection[str] = ()
) -> tuple[str, ...]:
    """Copy the graph at `source` into `folder` as `name`, with its `external_files`; return the names of the copies.

    Files with weights are linked where the file system allows it: a model's files are not written again.

    Raises BuildError for weights outside the graph's folder, or in a file whose name is in `taken`.
    """
    for location in external:
        path = PurePosixPath(location)
        if path.is_absolute() or ".." in path.parts or location in (name, *taken):
            raise BuildError(f"the graph has weights in '{location}', outside its own folder.")
        file = folder / location
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link((source.parent / location).resolve(), file)
        except OSError:
            shutil.copyfile(source.parent / location, file)
    shutil.copyfile(source, folder / name)
    return (name, *external)


def _nodes_of(holder: Any) -> Iterator[Any]:
    for node in holder.node:
        yield node
        for inner in bodies(node):
            yield from _nodes_of(inner)
