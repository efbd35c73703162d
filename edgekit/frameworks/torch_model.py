"""Torch modules: the check of their weights, and the Original that runs them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import BuildError, UsageError

if TYPE_CHECKING:
    import numpy as np


def first_line(error: BaseException) -> str:
    """Return an exception as one line: its class and the first line of its message, with the next after a colon."""
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
            if tensor.is_meta:
                raise UsageError(
                    f"the weights of {what} lack '{name}'.", hint="download the file again; it may be damaged"
                )
            # The sum is finite only if every element is; when it is not, check each: large values may overflow.
            if tensor.is_floating_point() and not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
                raise _broken(name, tensor, what)
        for name, tensor in module.named_buffers():
            if tensor.is_floating_point() and torch.isnan(tensor).any():  # infinities are how attention masks are kept
                raise _broken(name, tensor, what)


def _broken(name: str, tensor: Any, what: str) -> UsageError:
    import torch

    count = int((~torch.isfinite(tensor)).sum())
    return UsageError(
        f"the weights of {what} are invalid: {count:,} of {tensor.numel():,} values of '{name}' are NaN or infinite.",
        hint="use the checkpoint of an earlier training step, or download the file again",
    )


def in_eval_mode(module: Any) -> Any:
    """Return the module in eval mode on the processor: the module itself where it already is, else a copy."""
    import copy

    tensors = [*module.parameters(), *module.buffers()]
    if not any(part.training for part in module.modules()) and all(tensor.device.type == "cpu" for tensor in tensors):
        return module
    try:
        return copy.deepcopy(module).cpu().eval()
    except Exception as error:  # tensors with a gradient history do not copy
        raise UsageError(
            f"'{type(module).__name__}' is in training mode and cannot be copied: {error}.",
            hint="call .eval() on it first",
        ) from error


def parameter_count(module: Any) -> int:
    """Return the number of weights; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def versions(*names: str) -> str:
    """Return packages with their installed versions, as `torch 2.13.0, transformers 4.57.6`."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in names)


def to_torch(feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the feeds as torch tensors, copied: a model may change its inputs in place, and others run on them too."""
    import numpy as np
    import torch

    return {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}


ONE_THREAD_WEIGHTS = 50_000_000
"""Number of weights up to which one thread runs the original.

Its inferences are of batch 1: with little work in each operator, torch's threads wait for each other more than they
compute, and on a busy machine they wait ten times as long (ResNet-20: 2.4 ms on one thread, 21 ms on two beside one
busy process). The rule is fixed, because the number of threads changes the last digits of the outputs.
"""


@contextlib.contextmanager
def limited_threads(module: Any) -> Iterator[None]:
    """Run on one thread a module of up to ONE_THREAD_WEIGHTS."""
    import torch

    before = torch.get_num_threads()
    if parameter_count(module) <= ONE_THREAD_WEIGHTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class TorchOriginal:
    """Run a module in eval mode, in fp32, on the processor."""

    module: Any
    framework: str
    read: Callable[[Any], dict[str, Any]] = field(repr=False)
    """Turns the module's result into tensors by name."""
    positional: tuple[str, ...] = ()
    """The graph's input names in order, for a plain module; empty passes every tensor by its name."""
    parameters: tuple[str, ...] = ()
    """The module's own names for `positional`; empty passes them by position."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name. Raises BuildError with the message of the module's own exception."""
        import torch

        tensors = to_torch(feeds)
        try:
            with torch.inference_mode(), limited_threads(self.module):
                outputs = self.outputs(tensors)
        except Exception as error:  # the model's own code can raise anything
            raise BuildError(f"the original model does not run: {first_line(error)}") from error
        return {name: tensor.detach().cpu().numpy() for name, tensor in outputs.items()}

    def random_operators(self, feeds: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        """Return the operators that draw random numbers on these feeds, each with its submodule."""
        from edgekit.frameworks.torch_random import random_operators

        return random_operators(self.module, lambda: self.run(feeds))

    def run_seeded(self, feeds: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """Return the outputs of a run whose random numbers begin at `seed`; torch's own go on as they were."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.run(feeds)

    def outputs(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs by name, as tensors with their gradients."""
        return self.read(self._call(tensors))

    def _call(self, tensors: Mapping[str, Any]) -> Any:
        if not self.positional:
            return self.module(**tensors)
        values = [tensors[name] for name in self.positional]
        return (
            self.module(**dict(zip(self.parameters, values, strict=True))) if self.parameters else self.module(*values)
        )
