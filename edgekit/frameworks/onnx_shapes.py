"""Fix the free sizes of an ONNX graph to numbers, and name those that stay free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekit.errors import BuildError, UsageError

ALIASES = {"batch": "batch_size", "sequence": "sequence_length"}
"""The names of free sizes in targets and options, and optimum's names for the same sizes."""

_SMALL = 1024
"""Elements up to which a constant may be a shape that inference has to read."""


def fix_shapes(proto: Any, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Replace free sizes by numbers in inputs and outputs, in place; return the symbols that were fixed, sorted.

    `sizes` is keyed by symbol; `batch` also stands for `batch_size` and `sequence` for `sequence_length`, both ways.
    Symbols that the graph does not have are ignored: a target's sizes serve every model.
    Raises UsageError for a size below 1, BuildError where the graph contradicts the sizes.
    """
    wanted: dict[str, int] = {}
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(
                f"the size '{name}' must be at least 1, found {size}.",
                hint=f"--shape {name}=1, or --shape {name}=dynamic",
            )
        wanted |= {alias: size for alias in _names(name) if alias not in sizes}
        wanted[name] = size
    if not free_sizes(proto.graph.input) & wanted.keys():
        return ()
    before = _skeleton(proto)
    fixed = {name for value in proto.graph.input for name in _fix(value, wanted)}
    for value in proto.graph.output:
        _fix(value, wanted)
    # Inferred inner shapes still carry the symbols; runtimes infer them again from the inputs.
    del proto.graph.value_info[:]
    _infer_outputs(proto, before)
    return tuple(sorted(fixed))


def _names(name: str) -> tuple[str, ...]:
    back = {long: short for short, long in ALIASES.items()}
    return tuple(alias for alias in (ALIASES.get(name), back.get(name)) if alias)


def _fix(value: Any, sizes: Mapping[str, int]) -> set[str]:
    fixed = set()
    for dim, size in zip(_dims(value), shape_of(value), strict=True):
        if isinstance(size, str) and size in sizes:
            fixed.add(size)
            dim.dim_value = sizes[size]
    return fixed


def shape_of(value: Any) -> tuple[int | str, ...]:
    """Return the shape of a graph input or output: numbers, and symbols where it is free.

    A nameless free size is called `<tensor>_<index>`: two such sizes need not be equal. Old exporters write 0 or -1.
    """
    return tuple(
        int(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or f"{value.name}_{index}"
        for index, dim in enumerate(_dims(value))
    )


def free_sizes(values: Iterable[Any]) -> set[str]:
    """Return the symbols in the shapes of graph inputs or outputs."""
    return {size for value in values for size in shape_of(value) if isinstance(size, str)}


def known_sizes(proto: Any) -> tuple[str, ...]:
    """Return every name under which a free size of the inputs can be fixed, sorted."""
    free = free_sizes(proto.graph.input)
    return tuple(sorted(free.union(*(_names(name) for name in free))))


def _infer_outputs(proto: Any, before: Any) -> None:
    """Write the output sizes that follow from the inputs, in place; a size that cannot be inferred stays as it was.

    Raises BuildError where strict inference fails that did not fail on the graph as it was.
    """
    import onnx

    after = _skeleton(proto)
    try:
        inferred = onnx.shape_inference.infer_shapes(after, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx's InferenceError, or a RuntimeError from protobuf
        if _is_sound(before):
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise BuildError(
                f"the sizes do not fit the graph: {lines[-1] if lines else type(error).__name__}",
                hint="pass sizes that the model accepts, or leave them free",
            ) from error
        inferred = onnx.shape_inference.infer_shapes(after, data_prop=True)
    for value, inferred_value in zip(proto.graph.output, inferred.graph.output, strict=True):
        for dim, inferred_dim in zip(_dims(value), _dims(inferred_value), strict=False):
            if inferred_dim.HasField("dim_value"):
                dim.dim_value = inferred_dim.dim_value


def _is_sound(skeleton: Any) -> bool:
    """Return whether strict inference accepts a graph; it rejects some that run, for lack of an operator's rules."""
    import onnx

    try:
        onnx.shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=True)
    except Exception:  # the same open set as in _infer_outputs
        return False
    return True


def _skeleton(proto: Any) -> Any:
    """Return a copy without the data of large weights (name, type and shape stay) and without the outputs' sizes."""
    import onnx

    bare = onnx.ModelProto(ir_version=proto.ir_version)
    bare.opset_import.extend(proto.opset_import)
    bare.functions.extend(proto.functions)
    bare.graph.name = proto.graph.name
    bare.graph.node.extend(proto.graph.node)
    bare.graph.input.extend(proto.graph.input)
    bare.graph.output.extend(proto.graph.output)
    for value in bare.graph.output:
        for dim in _dims(value):
            dim.Clear()
    for tensor in proto.graph.initializer:
        count = 1
        for size in tensor.dims:
            count *= size
        if count <= _SMALL:
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return bare


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim
