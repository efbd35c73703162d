"""Trace a transformers model without its weights, and write these behind the graph one by one.

torch's exporter holds the weights several times over: as constants that it folds, in the messages of its two passes of
shape inference, and in the file's message. Here it traces a graph whose weights are inputs, which is small, and they
follow from the module's own memory: of a checkpoint in fp32 that is the mapped file.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError
from edgekit.frameworks import onnx_model
from edgekit.frameworks.onnx_external import LEAST_BYTES, DataFile
from edgekit.passes.export.config_kept import config_kept

SINGLE_FILE_BYTES = 64_000_000
"""Up to so many bytes of weights, the graph is one file."""

PIECE_BYTES = 8_000_000
"""Of a weight that is written transposed, so much is transposed at a time."""


def export(module: Any, config: Any, graph: Path, opset: int) -> Any:
    """Write the graph of a module by optimum's `config`, its weights in `<name>.data` beside it where they are large.

    Returns its proto, in which large weights are names of places in that file.
    """
    import torch
    from optimum.exporters.onnx.convert import export as export_one

    weights = dict(torch.jit._unique_state_dict(module))
    with torch.no_grad(), config_kept(module), _without_weights():
        export_one(module, config, graph, opset=opset, device="cpu", disable_dynamic_axes_fix=True)
    proto = onnx_model.load(graph, weights=False)
    given = {*config.inputs, *weights}
    if strange := [value.name for value in proto.graph.input if value.name not in given]:
        raise BuildError(f"torch's exporter left weights without a name: {', '.join(strange[:5])}.")
    _attach(proto, weights, graph)
    onnx_model.rewrite(proto, graph)
    return proto


@contextlib.contextmanager
def _without_weights() -> Iterator[None]:
    """Let torch's exporter take the weights as inputs of the graph: constants are folded still, weights are not.

    The function that lists them is private: torch's own `export_params=False` gives them to its passes all the same.
    """
    import torch

    utils: Any = inspect.getmodule(inspect.unwrap(torch.onnx.utils.export))
    named = utils._get_named_param_dict
    utils._get_named_param_dict = lambda graph, params: {}
    try:
        yield
    finally:
        utils._get_named_param_dict = named


def _attach(proto: Any, weights: Mapping[str, Any], graph: Path) -> None:
    """Make initializers of the graph's inputs that are weights; one that is read transposed is written so."""
    inputs = [value.name for value in proto.graph.input if value.name in weights]
    total = sum(weights[name].numel() * weights[name].element_size() for name in inputs)
    kept = [value for value in proto.graph.input if value.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    transposes: dict[str, list[str]] = {name: [] for name in inputs}
    as_they_are, nodes = set[str](), []
    for node in proto.graph.node:
        if node.input and _transposes(node, weights.get(node.input[0])):
            transposes[node.input[0]].append(node.output[0])
        else:
            as_they_are.update(node.input)
            nodes.append(node)
    same = {name: outputs[0] for outputs in transposes.values() for name in outputs[1:]}
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx_model.rename(proto, same)
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(DataFile(graph)) if total > SINGLE_FILE_BYTES else None
        for name in inputs:
            if name in as_they_are:
                _add(proto, name, weights[name].detach(), data, transposed=False)
            if transposes[name]:
                _add(proto, transposes[name][0], weights[name].detach(), data, transposed=True)


def _transposes(node: Any, weight: Any) -> bool:
    """Return whether a node transposes the weight that it reads (None: it reads none), as torch's linear layers do."""
    orders = [list(entry.ints) for entry in node.attribute if entry.name == "perm"]
    return node.op_type == "Transpose" and weight is not None and weight.dim() == 2 and orders in ([], [[1, 0]])


def _add(proto: Any, name: str, weight: Any, data: DataFile | None, *, transposed: bool) -> None:
    import numpy as np
    from onnx import helper

    array = weight.cpu().numpy()
    tensor = proto.graph.initializer.add()
    tensor.name = name
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor.dims.extend(reversed(array.shape) if transposed else array.shape)
    if data is None or array.nbytes < LEAST_BYTES:
        tensor.raw_data = (array.T if transposed else array).tobytes()
    elif transposed:
        step = max(1, PIECE_BYTES // max(1, array.itemsize * array.shape[0]))
        starts = range(0, array.shape[1], step)
        data.add(tensor, (np.ascontiguousarray(array[:, start : start + step].T) for start in starts))
    else:
        data.add(tensor, [np.ascontiguousarray(array)])
