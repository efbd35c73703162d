"""Export one forward of a transformers model through torch.export, where optimum's tracer does not translate it.

The tracer and torch.export fail on different code: a branch on a size, an operator, an attention mask. The module is
wrapped in one that takes the graph's inputs by position and returns its outputs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit._requirement import require
from edgekit.frameworks import onnx_model
from edgekit.model import Model
from edgekit.passes.export.dynamo import translated


def export(model: Model, graph: Path, opset: int, config: Any, feeds: Mapping[str, Any], fixed: Sequence[str]) -> None:
    """Write `graph`, whose inputs' sizes have the names that `config` gives; those in `fixed` it is valid for as they
    are in `feeds`.
    """
    require("exporting a transformers model", "onnxscript")
    import torch

    from edgekit.frameworks import optimum_config

    module, names, read = model.module, list(feeds), optimum_config.reader(config)
    named: Mapping[str, Mapping[int, str]] = config.inputs
    parameters = {name: torch.as_tensor(value) for name, value in feeds.items()}

    class Forward(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: Any) -> Any:
            return tuple(read(self.module(**dict(zip(names, tensors, strict=True)))).values())

    with torch.no_grad():
        outputs = list(read(module(**{name: value.clone() for name, value in parameters.items()})))
        dynamic = tuple(_free(named.get(name, {}), fixed) for name in names)
        proto = translated(
            Forward().eval(),
            opset,
            args=tuple(parameters.values()),
            input_names=names,
            output_names=outputs,
            dynamic_shapes=(dynamic,) if any(dynamic) else None,
        )
    for value in proto.graph.input:
        for index, size in _free(named.get(value.name, {})).items():
            value.type.tensor_type.shape.dim[index].dim_param = size
    onnx_model.save(proto, graph)


def _free(sizes: Mapping[int, str], fixed: Sequence[str] = ()) -> dict[int, str]:
    return {index: size for index, size in sizes.items() if size != "num_channels" and size not in fixed}
