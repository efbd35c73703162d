"""Export a plain module through torch.export and onnxscript (`dynamo=True`)."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from edgekit._requirement import require
from edgekit.errors import BuildError, UsageError
from edgekit.frameworks import onnx_model
from edgekit.model import Model


def export(model: Model, graph: Path, opset: int) -> tuple[str, ...]:
    """Write `graph`, self-contained up to 2 GB, and return notes. Free sizes keep their names in the call."""
    require("exporting a plain module", "onnxscript")
    call = model.module
    module, parameters = _by_position(call)
    dynamic = tuple({i: dim for i, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in call.specs)
    by_name = bool(parameters)
    proto = translated(
        module,
        opset,
        args=() if by_name else call.examples,
        kwargs=dict(zip(parameters, call.examples, strict=True)) if by_name else None,
        input_names=[spec.name for spec in call.specs],
        output_names=list(call.outputs),
        # One name for one size in all inputs: a string is what torch turns into Dim.DYNAMIC and back into its name.
        dynamic_shapes=_tree(parameters, dynamic) if any(dynamic) else None,
    )
    _free_outputs(proto, call)
    onnx_model.save(proto, graph)
    return tuple(call.notes)


def translated(module: Any, opset: int, **call: Any) -> Any:
    """Return the graph that torch.export gives, as a proto; `call` are the other arguments of torch.onnx.export."""
    import torch

    program = torch.onnx.export(module, opset_version=opset, dynamo=True, verbose=False, optimize=True, **call)
    if program is None:
        raise BuildError("torch returned no graph.")
    return program.model_proto


def _by_position(call: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the module to export and its argument names; torch exports what it takes as **kwargs only by position."""
    import torch

    signature = inspect.signature(call.module.forward).parameters
    if all(name in signature for name in call.parameters):
        return call.module, call.parameters

    class ByPosition(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
        def __init__(self) -> None:
            super().__init__()
            self.module = call.module

        def forward(self, *tensors: Any) -> Any:
            return self.module(**dict(zip(call.parameters, tensors, strict=True)))

    return ByPosition().eval(), ()


def _tree(parameters: tuple[str, ...], dynamic: tuple[dict[int, str], ...]) -> Any:
    """Return dynamic shapes in the form of the arguments: by name, or as the single *args tuple."""
    return dict(zip(parameters, dynamic, strict=True)) if parameters else (dynamic,)


def _free_outputs(proto: Any, call: Any) -> None:
    """Free the output sizes that the exporter fixed although they follow an input, as a recurrent layer's time does.

    Each free size in turn is made one larger, and the module is run to see which output sizes change.
    """
    import torch

    from edgekit.frameworks.torch_call import run

    symbols = sorted({dim for spec in call.specs for dim in spec.shape if isinstance(dim, str)})
    if not symbols or not any(dim.HasField("dim_value") for value in proto.graph.output for dim in _dims(value)):
        return
    before = call.named_outputs(run(call.module, call.parameters, call.examples))
    for symbol in symbols:
        larger = []
        for spec, example in zip(call.specs, call.examples, strict=True):
            for index in (i for i, dim in enumerate(spec.shape) if dim == symbol):
                example = torch.cat([example, example.narrow(index, 0, 1)], dim=index)
            larger.append(example)
        try:
            after = call.named_outputs(run(call.module, call.parameters, tuple(larger)))
        except UsageError:
            continue  # the module does not take this size, so nothing can be learned from it
        for value in proto.graph.output:
            old, new = before[value.name].shape, after[value.name].shape
            for index, dim in enumerate(_dims(value)):
                if dim.HasField("dim_value") and old[index] != new[index]:
                    dim.dim_param = symbol if new[index] == old[index] + 1 else f"{value.name}_{index}"


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim
