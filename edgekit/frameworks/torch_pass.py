"""The nn.Module of a torch model: get it, run it with gradients, and wrap the module that a pass makes of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit import _requirement
from edgekit.errors import UnsupportedError
from edgekit.frameworks.torch_model import TorchOriginal, parameter_count
from edgekit.model import Model, Step


def module_of(model: Model) -> Any:
    """Return the nn.Module, which belongs to the model: copy it (copy.deepcopy) before changing it."""
    return model.module.module if _is_call(model) else model.module


def outputs(model: Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Run the module on tensors by input name; return its outputs by the graph's names, with their gradients."""
    return _original(model).outputs(inputs)


def takes_batches(model: Model) -> bool:
    """Return whether the module takes several samples at once."""
    if not _is_call(model):
        return True  # transformers models all do
    return all(bool(spec.shape) and isinstance(spec.shape[0], str) for spec in model.module.specs)


def with_module(model: Model, module: Any) -> Model:
    """Return the model with another module, in evaluation mode, that is called in the same way."""
    module = module.eval()
    call = replace(model.module, module=module) if _is_call(model) else module
    info = replace(model.info, parameters=parameter_count(module))
    return replace(model, module=call, original=replace(_original(model), module=module), info=info)


def changed(
    model: Model,
    module: Any,
    *,
    name: str,
    config: Mapping[str, Any],
    packages: Sequence[str],
    seconds: float,
    notes: Sequence[str] = (),
) -> Model:
    """Return the model with the module that the pass `name` made, with its line of lineage."""
    step = Step(
        name=name,
        config=config,
        tools=_requirement.versions(packages),
        before=digest_of(module_of(model)),
        after=digest_of(module),
        seconds=round(seconds, 3),
        notes=tuple(notes),
    )
    return with_module(model, module).with_step(step)


def digest_of(module: Any) -> str:
    """Return the SHA-256 over the module's structure, as torch prints it, and the bytes of its weights and buffers."""
    sha = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode())
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(-1).numpy().tobytes())
    return sha.hexdigest()


def _is_call(model: Model) -> bool:
    """Return whether the model holds a plain module with its Call; transformers' models are called by name."""
    from edgekit.frameworks.torch_call import Call  # which imports torch

    return isinstance(model.module, Call)


def _original(model: Model) -> TorchOriginal:
    if not isinstance(model.original, TorchOriginal):
        raise UnsupportedError(
            f"a pass cannot change the module of this model: a '{type(model.original).__name__}' runs it.",
            hint="use a recipe whose passes work on graphs, as int8-static",
        )
    return model.original
