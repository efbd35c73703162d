"""Bring an old or unusual ONNX graph into the form that passes and runtimes work on; it computes the same."""

from __future__ import annotations

from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.frameworks import onnx_graph

OLDEST_OPSET = 7
"""The first opset that onnxruntime has kernels for; most of its operators still mean the same."""

WEIGHTS_ALONE = 4
"""The first IR version in which an initializer need not be an input too."""


def upgraded(proto: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a checked model without local functions, of an opset that runtimes have, and what was changed.

    The model itself where there is nothing to change. Raises UnsupportedError where onnx cannot raise the opset.
    """
    notes = []
    opset = onnx_graph.opset(proto)
    if 0 < opset < OLDEST_OPSET:
        proto = _newer(proto)
        notes.append(f"onnx raised the opset from {opset} to {onnx_graph.opset(proto)}")
    if proto.functions and (inlined := _inlined(proto)) is not None:
        proto = inlined
        notes.append("local functions were inlined")
    return proto, tuple(notes)


def without_weights_as_inputs(proto: Any) -> Any:
    """Return the model, or a copy without initializers among its inputs: no runtime folds what a caller may replace."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    old = proto.ir_version < WEIGHTS_ALONE and weights
    if len(inputs) == len(proto.graph.input) and not old:
        return proto
    changed = type(proto)()
    changed.CopyFrom(proto)
    del changed.graph.input[:]
    changed.graph.input.extend(inputs)
    changed.ir_version = max(changed.ir_version, WEIGHTS_ALONE)
    return changed


def _newer(proto: Any) -> Any:
    """Return the model converted to the lowest opset that runtimes have and onnx can convert it to."""
    from onnx import version_converter

    errors = []
    for opset in (OLDEST_OPSET, 9, 13):
        try:
            return version_converter.convert_version(proto, opset)
        except Exception as error:  # the converter is native code with exceptions of its own
            errors.append(error)
    raise UnsupportedError(
        f"the model has operator set {onnx_graph.opset(proto)}, older than runtimes have, and onnx cannot convert it: "
        f"{' '.join(str(errors[0]).split())[:200]}",
        hint=f"export the model again with opset {OLDEST_OPSET} or newer",
    ) from errors[0]


def _inlined(proto: Any) -> Any | None:
    """Return the model with the nodes of its local functions in place of their calls: OpenVINO reads no functions, and
    passes change the nodes of the graph alone. None where onnx cannot.
    """
    from onnx import inliner

    try:
        return inliner.inline_local_functions(proto, convert_version=True)
    except Exception:  # a graph above 2 GB, or one that only its own runtime understands: it may run as it is
        return None
