"""Find the groups of a module's channels that can be pruned: those for which removing equals zeroing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgekit.errors import UnsupportedError, UsageError, nearest
from edgekit.passes.prune import pruning_plan
from edgekit.passes.prune.dependency import channel_groups
from edgekit.passes.prune.encoder import KNOWN, encoder_groups
from edgekit.passes.prune.multiplications import Work, one_thread
from edgekit.passes.prune.pruning_plan import Group

Forward = Callable[[Any], Mapping[str, torch.Tensor]]
"""Runs a module on example inputs and returns its outputs by name; autograd is as the caller set it."""

TOLERANCE = 1e-3
"""Largest difference between removing and zeroing, as a share of the largest output: sums of other lengths round
differently (1e-6 seen), a channel that is also read elsewhere changes the outputs by their own size."""


@dataclass(frozen=True)
class Prunable:
    """The groups that can be pruned, and why others cannot."""

    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def prunable(module: Any, forward: Forward, work: Work, exclude: Sequence[str] = ()) -> Prunable:
    """Return the groups of `module` that can be pruned; `work` is the work of its inference on the same inputs.

    Raises UsageError for an unknown name in `exclude`, UnsupportedError for an architecture that cannot be followed.
    """
    _check_names(module, exclude)
    groups = encoder_groups(module) or _by_dependency(module, forward, work)
    kept: list[Group] = []
    unsound: list[Group] = []
    with one_thread(), torch.no_grad():
        outputs = forward(module)
        for group in groups:
            if any(_inside(member.module, exclude) for member in group.members):
                continue
            half = pruning_plan.make_plan([(group, _half(group))])
            (kept if group.size > 1 and sound(module, half, forward, outputs) else unsound).append(group)
    notes = []
    if unsound:
        notes.append(
            f"not pruned: {len(unsound)} groups whose channels are also read elsewhere or are outputs "
            f"({_first_names(unsound)})"
        )
    return Prunable(tuple(kept), tuple(notes))


def sound(module: Any, plan: pruning_plan.PruningPlan, forward: Forward, outputs: Mapping[str, torch.Tensor]) -> bool:
    """Return whether the plan's smaller module computes what the full one computes with those channels at zero."""
    try:
        small = forward(pruning_plan.apply(module, plan))
    except Exception:  # the user's own code meets sizes that it does not expect
        return False
    full = forward(pruning_plan.zeroed(module, plan))
    return all(
        small[name].shape == outputs[name].shape
        and bool((small[name] - full[name]).abs().max() <= TOLERANCE * outputs[name].abs().max() + 1e-6)
        for name in outputs
    )


def _half(group: Group) -> range:
    """Return every other unit, so that shifted or overlapping indices show."""
    return range(0, group.size, 2)


def _by_dependency(module: Any, forward: Forward, work: Work) -> tuple[Group, ...]:
    """Return the groups that torch-pruning traces. Raises UnsupportedError for transformers that it cannot follow."""
    if _is_transformers(module) and 2 * work.convolutions < work.total:
        raise UnsupportedError(
            f"'{type(module).__name__}' cannot be pruned: of the transformers, pruning supports {KNOWN}.",
            hint="use a recipe without pruning: int8-static, int8-dynamic, fp16; or prune it in your own code and "
            "export the pruned module",
        )
    return channel_groups(module, lambda part: list(forward(part).values()))


def _is_transformers(module: Any) -> bool:
    return any(kind.__module__.startswith("transformers.") for kind in type(module).__mro__)


def _check_names(module: Any, exclude: Sequence[str]) -> None:
    names = [name for name, _ in module.named_modules() if name]
    for name in exclude:
        if name not in names:
            raise UsageError(
                f"exclude: the model has no module '{name}'.{nearest(name, names)}",
                hint="names are those of `named_modules()`; one with parts, as 'layer1', includes all of them",
            )


def _inside(name: str, exclude: Sequence[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in exclude)


def _first_names(groups: Sequence[Group]) -> str:
    names = [group.name for group in groups]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
