"""The inputs and outputs of a converted model: those of the ONNX graph, by its names. Build side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import BuildError
from edgekit.plugin import Part, TensorSpec
from edgekit_openvino.session import runtime


def restore(converted: Any, part: Part) -> None:
    """Add to a converted model every input and output of `part` that it lacks; names are those of the ONNX graph.

    The conversion drops an input that no operator reads, and an input that is an output too keeps one of its names.
    Raises BuildError where there are others.
    """
    results, own = converted.get_results(), converted.get_parameters()
    if len(results) != len(part.outputs) or len(own) > len(part.inputs):
        raise BuildError(
            f"OpenVINO made {len(own)} inputs and {len(results)} outputs of a graph with {len(part.inputs)} and"
            f" {len(part.outputs)}."
        )
    parameters = _matched(own, part.inputs)
    for spec, result in zip(part.outputs, results, strict=True):
        _name_output(spec, result, parameters)
    for spec in part.inputs:
        if spec.name not in parameters:
            converted.add_parameters([_parameter(spec)])
        elif spec.name not in parameters[spec.name].output(0).get_names():
            parameters[spec.name].output(0).get_tensor().add_names({spec.name})


def _matched(parameters: Sequence[Any], specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """Return the parameters by the name of their input: by their own name, or by place where none was dropped."""
    if len(parameters) == len(specs):
        by_place = {spec.name: parameter for spec, parameter in zip(specs, parameters, strict=True)}
    else:
        by_place = {}
    named = {parameter.get_friendly_name(): parameter for parameter in parameters}
    named |= {name: parameter for parameter in parameters for name in parameter.output(0).get_names()}
    by_name = {spec.name: named[spec.name] for spec in specs if spec.name in named}
    return by_name if len(by_name) == len(parameters) else {**by_place, **by_name}


def _name_output(spec: TensorSpec, result: Any, inputs: Mapping[str, Any]) -> None:
    """Name the tensor that a result returns; an input of another name is returned as a copy: a tensor has one name."""
    source = result.input_value(0)
    if source.get_node().get_type_name() == "Parameter" and spec.name not in inputs:
        copy = runtime().opset1.convert(source, source.get_element_type().get_type_name())
        copy.set_friendly_name(f"{spec.name}/copy")
        kept = source.get_names() - {spec.name}
        source.get_tensor().set_names(kept)
        copy.output(0).get_tensor().set_names({spec.name})
        result.input(0).replace_source_output(copy.output(0))
    elif spec.name not in source.get_names():
        source.get_tensor().add_names({spec.name})


def _parameter(spec: TensorSpec) -> Any:
    """Return an input that no operator reads."""
    import numpy as np

    ov = runtime()
    shape = ov.PartialShape([-1 if isinstance(size, str) else size for size in spec.shape])
    parameter = ov.op.Parameter(ov.Type(np.dtype(spec.numpy_dtype)), shape)
    parameter.set_friendly_name(spec.name)
    parameter.output(0).get_tensor().set_names({spec.name})
    return parameter
