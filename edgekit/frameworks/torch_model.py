"""Live torch models: the check of their weights, and the Original that runs them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import BuildError, UsageError

if TYPE_CHECKING:
    import numpy as np


def first_line(error: BaseException) -> str:
    """Give an exception as one line: its class and the first line of its message, with the next after a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {text}"


def refuse_non_finite(module: Any, what: str) -> None:
    """Raise UsageError, naming the tensor, when a parameter is NaN or infinite, or a buffer is NaN."""
    import torch

    with torch.no_grad():
        for name, tensor in module.named_parameters():
            # The sum is finite only if every element is; when it is not, look closer: large values may overflow.
            if tensor.is_floating_point() and not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
                raise _broken(name, tensor, what)
        for name, tensor in module.named_buffers():
            if tensor.is_floating_point() and torch.isnan(tensor).any():  # infinities are how attention masks are kept
                raise _broken(name, tensor, what)


def _broken(name: str, tensor: Any, what: str) -> UsageError:
    import torch

    count = int((~torch.isfinite(tensor)).sum())
    return UsageError(
        f"the weights of {what} are broken: {count:,} of {tensor.numel():,} values of '{name}' are NaN or infinite.",
        hint="take the checkpoint of an earlier training step, or download the file again",
    )


def parameter_count(module: Any) -> int:
    """Count the weights, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def versions(*names: str) -> str:
    """Give `torch 2.13.0, transformers 4.57.6`, as installed."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in names)


def to_torch(feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Give torch tensors of copies: a model may change its inputs in place, and others run on the same feeds."""
    import numpy as np
    import torch

    return {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}


SMALL = 50_000_000
"""Weights up to which one thread runs the original.

Its inferences are of batch 1: with little work in each operator, torch's threads wait for each other more than they
compute, and on a machine that does something else too they wait ten times as long (ResNet-20: 2.4 ms on one thread,
21 ms on two beside one busy process). A fixed rule, because the thread count moves the last digits of the outputs.
"""


@contextlib.contextmanager
def _threads(module: Any) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if parameter_count(module) <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class TorchOriginal:
    """Run a live module in eval mode, in fp32, on the processor."""

    module: Any
    framework: str
    read: Callable[[Any], dict[str, Any]] = field(repr=False)
    """Turn the module's result into named tensors."""
    positional: tuple[str, ...] = ()
    """The graph's input names in order, for a plain module; empty passes everything by its own name."""
    parameters: tuple[str, ...] = ()
    """The names that the module itself has for `positional`; empty passes those by position."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give the outputs by name. Raises BuildError with the module's own complaint."""
        import torch

        tensors = to_torch(feeds)
        try:
            with torch.inference_mode(), _threads(self.module):
                found = self.outputs(tensors)
        except Exception as error:  # the model's own code: any exception is its author's
            raise BuildError(f"the original model does not run: {first_line(error)}") from error
        return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}

    def outputs(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Give the outputs by name, as tensors with their gradients."""
        return self.read(self._call(tensors))

    def _call(self, tensors: Mapping[str, Any]) -> Any:
        if not self.positional:
            return self.module(**tensors)
        values = [tensors[name] for name in self.positional]
        return (
            self.module(**dict(zip(self.parameters, values, strict=True))) if self.parameters else self.module(*values)
        )
