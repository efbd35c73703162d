"""How a plain module is called: its inputs by name, examples for tracing, free sizes, and its outputs by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgekit.errors import UnsupportedError, UsageError, nearest
from edgekit.frameworks.torch_model import first_line
from edgekit.spec import SHORT_NAMES, TensorSpec

BATCH = "batch"

_EXAMPLE_SIZES = {BATCH: 2, "batch_size": 2, "height": 224, "width": 224, "h": 224, "w": 224}
_EXAMPLE_SIZE = 16
"""What a free size is while tracing; 2 for the batch because tracing takes a size of 1 for a constant."""

_DTYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    "bool": torch.bool,
}


@dataclass(frozen=True)
class Call:
    """One way to call a module; `specs`, `parameters` and `examples` have one item for each input, in order."""

    module: Any
    specs: tuple[TensorSpec, ...]
    parameters: tuple[str, ...]
    """Names in forward's signature, in order; empty where everything is passed by position."""
    examples: tuple[Any, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def named_outputs(self, result: Any) -> dict[str, Any]:
        """Return the tensors of a result by the graph's names: no output has the name of an input."""
        return _distinct_outputs(self.specs, result)


@dataclass(frozen=True)
class GraphCall:
    """How one graph of several is called, and its states."""

    name: str
    call: Call
    reads: Mapping[str, str]
    """Input to state."""
    writes: Mapping[str, str]
    """Output to state."""

    @property
    def fed(self) -> tuple[TensorSpec, ...]:
        """The inputs that are not states."""
        return tuple(spec for spec in self.call.specs if spec.name not in self.reads)


def describe(
    module: Any, reference_inputs: Sequence[TensorSpec], example_inputs: Any, feeds: Mapping[str, Any] | None
) -> Call:
    """Return how `module` is called, by the user's specs, the example inputs that come with it, or feeds from data.

    Runs the module once or twice on the examples. Raises UsageError where none of these is given, or the module fails.
    """
    names = parameter_names(module)
    if example_inputs is not None:
        parameters, examples = _from_example_inputs(module, example_inputs, names)
    elif feeds:
        if len(feeds) == len(names) == 1:
            feeds = {names[0]: next(iter(feeds.values()))}
        _check_names(feeds, names)
        parameters = tuple(name for name in names if name in feeds) if names else ()
        examples = tuple(torch.as_tensor(feeds[name]) for name in parameters or feeds)
    elif reference_inputs:
        parameters, examples = _parameters_for(reference_inputs, names), tuple(map(_example, reference_inputs))
    else:
        raise UsageError(
            f"the inputs of '{type(module).__name__}' are not known.",
            hint="name them, as --input images:f32[batch,3,224,224]; or return (module, example_inputs)",
        )
    specs = _specs(reference_inputs, parameters, examples)
    return _checked_call(module, specs, parameters, examples, described=bool(reference_inputs))


def by_name(module: Any, reference_inputs: Sequence[TensorSpec], example_inputs: Any) -> dict[str, Any]:
    """Return the example inputs, or examples of the inputs described, by the names of forward's arguments."""
    names = parameter_names(module)
    if example_inputs is not None:
        parameters, examples = _from_example_inputs(module, example_inputs, names)
    else:
        parameters, examples = _parameters_for(reference_inputs, names), tuple(map(_example, reference_inputs))
    return dict(zip(parameters, examples, strict=True))


def parameter_names(module: Any) -> tuple[str, ...]:
    """Return the parameters of forward that take a tensor by position or by name; empty where it takes *args.

    Raises UnsupportedError for a compiled module, which has no signature.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedError(
            f"'{type(module).__name__}' is compiled TorchScript, which torch does not export to ONNX any more.",
            hint="return the nn.Module that it was compiled from, or pass an ONNX file",
        )
    parameters = inspect.signature(module.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY, p.KEYWORD_ONLY))


def _takes_any_name(module: Any) -> bool:
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _from_example_inputs(
    module: Any, example_inputs: Any, names: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    if isinstance(example_inputs, Mapping):
        any_name = _takes_any_name(module)
        if not any_name:
            _check_names(example_inputs, names)
        by_name = tuple(str(name) for name in example_inputs) if names or any_name else ()
        return by_name, tuple(_tensor(item) for item in example_inputs.values())
    items = tuple(example_inputs) if isinstance(example_inputs, (list, tuple)) else (example_inputs,)
    if names and len(items) > len(names):
        raise UsageError(
            f"the example inputs hold {len(items)} tensors, {type(module).__name__}.forward takes {len(names)}: "
            f"{', '.join(names)}.",
            hint="return one example for each argument, in order",
        )
    return names[: len(items)], tuple(_tensor(item) for item in items)


def _check_names(arguments: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in arguments:
        if names and name not in names:
            raise UsageError(
                f"forward has no argument '{name}'.{nearest(str(name), names)}", hint=f"it takes {', '.join(names)}"
            )


def _tensor(value: Any) -> Any:
    import numpy as np

    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    raise UsageError(
        f"an example input is a {type(value).__name__}, not a tensor.",
        hint="pass tensors or numpy arrays, one for each argument",
    )


def _parameters_for(specs: Sequence[TensorSpec], names: tuple[str, ...]) -> tuple[str, ...]:
    """Match specs with forward's arguments: by name where all names fit, else by position."""
    wanted = tuple(spec.name for spec in specs)
    if not names or all(name in names for name in wanted):
        return wanted if names else ()
    if len(wanted) > len(names):
        raise UsageError(
            f"{len(wanted)} inputs are described, forward takes {len(names)}: {', '.join(names)}.",
            hint="give one --input for each argument of forward, in order",
        )
    return names[: len(wanted)]


def _example(spec: TensorSpec) -> Any:
    shape = [dim if isinstance(dim, int) else _EXAMPLE_SIZES.get(dim.lower(), _EXAMPLE_SIZE) for dim in spec.shape]
    dtype = _DTYPES.get(spec.dtype)
    if dtype is None:
        raise UsageError(
            f"input '{spec.name}': torch has no element type '{spec.dtype}'.",
            hint=f"describe it as f32, f16, i64, i32 or bool: --input {spec.name}:f32[...]",
        )
    if dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.zeros(shape, dtype=dtype)


def _specs(
    described: Sequence[TensorSpec], parameters: tuple[str, ...], examples: tuple[Any, ...]
) -> tuple[TensorSpec, ...]:
    if described:
        if len(described) != len(examples):
            raise UsageError(
                f"{len(described)} inputs are described, and the examples hold {len(examples)}.",
                hint="give one --input for each example, or leave --input out",
            )
        for spec, example in zip(described, examples, strict=True):
            fits = len(spec.shape) == example.dim() and all(
                isinstance(dim, str) or dim == size for dim, size in zip(spec.shape, example.shape, strict=True)
            )
            if not fits or _DTYPES.get(spec.dtype) != example.dtype:
                raise UsageError(
                    f"the example for '{spec.name}' is {_describe_tensor(example)}, but it is described as {spec}.",
                    hint="correct the --input, or leave it out: the examples describe themselves",
                )
        return tuple(described)
    # The first dimension is the batch where all inputs share it; a lone number or a state of another size has none.
    first = {int(example.shape[0]) for example in examples if example.dim() > 0}
    shared = len(first) == 1 and all(example.dim() > 0 for example in examples)
    names = parameters or tuple(f"input_{index}" for index in range(len(examples)))
    specs = []
    for name, example in zip(names, examples, strict=True):
        shape: list[int | str] = [int(size) for size in example.shape]
        if shared:
            shape[0] = BATCH
        specs.append(TensorSpec(name, dtype_of(example), tuple(shape)))
    return tuple(specs)


def dtype_of(example: Any) -> str:
    """Return the short name of a tensor's element type. Raises UsageError for one that edgekit does not support."""
    name = str(example.dtype).removeprefix("torch.")
    short = SHORT_NAMES.get(name)
    if short is None:
        raise UsageError(
            f"an example input has the element type {name}, which edgekit does not support.",
            hint="convert it first: x.float() or x.long()",
        )
    return short


def _describe_tensor(example: Any) -> str:
    return f"{str(example.dtype).removeprefix('torch.')}{list(example.shape)}"


def _checked_call(
    module: Any,
    specs: tuple[TensorSpec, ...],
    parameters: tuple[str, ...],
    examples: tuple[Any, ...],
    *,
    described: bool,
) -> Call:
    """Run the module, also with a batch of one doubled; where only a batch of one runs, fix the batch and note it."""
    free = [isinstance(spec.shape[0], str) if spec.shape else False for spec in specs]
    single = any(is_free and example.shape[0] == 1 for is_free, example in zip(free, examples, strict=True))
    outputs = run(module, parameters, examples)
    notes: tuple[str, ...] = ()
    if single:
        doubled = tuple(
            torch.cat([example, example]) if is_free and example.shape[0] == 1 else example
            for is_free, example in zip(free, examples, strict=True)
        )
        try:
            twice = run(module, parameters, doubled)
            reason = None if _agree(outputs, twice) else "the module's outputs change when it gets two examples"
        except UsageError:
            if described:
                raise
            reason = "the module does not run on two examples at once"
        if reason is None:
            examples = doubled
        else:
            specs = tuple(
                TensorSpec(spec.name, spec.dtype, tuple(map(int, example.shape)))
                for spec, example in zip(specs, examples, strict=True)
            )
            notes = (f"the batch is fixed to 1: {reason}",)
    return Call(module, specs, parameters, examples, tuple(_distinct_outputs(specs, outputs)), notes)


def _agree(once: Any, twice: Any) -> bool:
    """Return whether the first of two equal examples has the outputs that it has alone, where shapes are comparable."""
    alone, beside = name_outputs(once), name_outputs(twice)
    for name, value in alone.items():
        other = beside.get(name)
        if other is None or value.dim() == 0 or value.shape[0] != 1 or other.shape[:1] != (2,):
            continue
        if value.shape[1:] != other.shape[1:]:
            return False
        if value.is_floating_point() and not torch.allclose(value, other[:1], rtol=1e-2, atol=1e-3, equal_nan=True):
            return False
    return True


def _distinct_outputs(specs: Sequence[TensorSpec], result: Any) -> dict[str, Any]:
    taken = {spec.name for spec in specs}
    outputs = name_outputs(result)
    for name in [name for name in outputs if name in taken]:
        new_name = f"{name}_output"
        while new_name in taken or new_name in outputs:
            new_name += "_"
        outputs = {new_name if key == name else key: value for key, value in outputs.items()}
    return outputs


def run(module: Any, parameters: tuple[str, ...], examples: tuple[Any, ...]) -> Any:
    copies = [example.clone() for example in examples]  # the module may change its inputs in place
    try:
        with torch.no_grad():
            return module(**dict(zip(parameters, copies, strict=True))) if parameters else module(*copies)
    except Exception as error:  # the user's own code
        shapes = ", ".join(map(_describe_tensor, examples))
        raise UsageError(
            f"{type(module).__name__} does not run on its example inputs ({shapes}): {first_line(error)}",
            hint="correct the example inputs, or describe them with --input name:dtype[dims]",
        ) from error


def name_outputs(result: Any) -> dict[str, Any]:
    """Return the tensors of a result by name: key or field where it has them, else `output`, or `output_0`, ..."""
    if isinstance(result, torch.Tensor):
        return {"output": result}
    if isinstance(result, Mapping):
        items = {str(key): value for key, value in result.items()}
    elif hasattr(result, "_fields"):
        items = dict(zip(result._fields, result, strict=True))
    elif isinstance(result, (list, tuple)):
        items = {f"output_{index}": value for index, value in enumerate(result)}
    else:
        raise UsageError(
            f"the module returns a {type(result).__name__}, not tensors.",
            hint="return a tensor, a tuple or a dict of tensors",
        )
    tensors: dict[str, Any] = {}
    for name, value in items.items():
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif value is not None:
            inner = list(name_outputs(value).values())
            tensors |= {f"{name}.{index}": tensor for index, tensor in enumerate(inner)}
    return tensors
