"""What structured pruning removes from a module: groups of channels that belong together, and the plan that cuts them.

A group's units (channels, attention heads, feed-forward neurons) are removed at once from every module that produces or
reads them. Removing a unit equals setting to zero the weights by which others read it; `channel_groups.py` checks that.
A plan is plain JSON: applied to the module that it was made for, it always gives the same smaller module.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from edgekit._record import Record

Axis = Literal["out", "in"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclass(frozen=True)
class Member(Record):
    """The indices of a group's units in one module."""

    module: str
    axis: Axis
    channels: tuple[tuple[int, ...], ...]
    """The indices along the axis, for each unit."""


@dataclass(frozen=True)
class Setting(Record):
    """A number of a module that follows its group's size, as the count of attention heads."""

    module: str
    name: str
    per_unit: int


@dataclass(frozen=True)
class Group(Record):
    """Units that can be removed one by one, each from all members at once."""

    name: str
    kind: Literal["channels", "heads", "neurons"]
    members: tuple[Member, ...]
    settings: tuple[Setting, ...] = ()

    @property
    def size(self) -> int:
        return len(self.members[0].channels)

    @property
    def width(self) -> int:
        """Return the number of channels that a unit has in the first member."""
        return len(self.members[0].channels[0])

    @property
    def readers(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.axis == "in")


@dataclass(frozen=True)
class Cut(Record):
    """Indices to remove along one axis of one module."""

    module: str
    axis: Axis
    remove: tuple[int, ...]


@dataclass(frozen=True)
class PruningPlan(Record):
    """All cuts of one pruning step, and the settings that follow."""

    cuts: tuple[Cut, ...]
    settings: Mapping[str, int]
    """New values by `module.attribute`."""


def make_plan(removed: Mapping[Group, Iterable[int]] | Iterable[tuple[Group, Iterable[int]]]) -> PruningPlan:
    """Return the plan that removes these units of each group; two groups may be in one module (concatenation)."""
    pairs = removed.items() if isinstance(removed, Mapping) else removed
    removed_indices: dict[tuple[str, Axis], set[int]] = {}
    settings = {}
    for group, units in pairs:
        units = sorted(set(units))
        if not units:
            continue
        for member in group.members:
            indices = removed_indices.setdefault((member.module, member.axis), set())
            indices.update(index for unit in units for index in member.channels[unit])
        for setting in group.settings:
            settings[f"{setting.module}.{setting.name}"] = setting.per_unit * (group.size - len(units))
    cuts = tuple(
        Cut(module, axis, tuple(sorted(indices))) for (module, axis), indices in sorted(removed_indices.items())
    )
    return PruningPlan(cuts, settings)


def cuttable(module: Any, axis: Axis) -> bool:
    """Return whether channels of this module can be removed along the axis; a depthwise convolution has only `out`."""
    if isinstance(module, nn.Linear) or (isinstance(module, _CONVOLUTIONS) and module.groups == 1):
        return True
    return axis == "out" and (depthwise(module) or isinstance(module, (*_NORMS, nn.PReLU)))


def depthwise(module: Any) -> bool:
    """Return whether the module is a convolution of each channel on its own."""
    if not isinstance(module, _CONVOLUTIONS) or isinstance(module, _TRANSPOSED):
        return False
    return bool(module.groups > 1 and module.groups == module.in_channels == module.out_channels)


def reading_dim(module: Any) -> int | None:
    """Return the dimension of the weight along which the module reads channels; None where it does not combine them."""
    if isinstance(module, nn.Linear) or (isinstance(module, _CONVOLUTIONS) and module.groups == 1):
        return 0 if isinstance(module, _TRANSPOSED) else 1
    return None


def apply(module: Any, *plans: PruningPlan) -> Any:
    """Return a smaller copy of `module`, the plans applied in order."""
    smaller = copy.deepcopy(module)
    for plan in plans:
        for cut in plan.cuts:
            _cut(smaller.get_submodule(cut.module), cut.axis, cut.remove)
        for path, value in plan.settings.items():
            owner, _, name = path.rpartition(".")
            setattr(smaller.get_submodule(owner), name, value)
    return smaller


def zeroed(module: Any, plan: PruningPlan) -> Any:
    """Return a copy of the same size in which nothing reads what the plan removes; it computes what `apply` returns."""
    copied = copy.deepcopy(module)
    for cut in plan.cuts:
        part = copied.get_submodule(cut.module)
        dim = reading_dim(part)
        if cut.axis == "in" and dim is not None:
            with torch.no_grad():
                part.weight.index_fill_(dim, torch.tensor(cut.remove), 0.0)
    return copied


def _cut(module: Any, axis: Axis, remove: tuple[int, ...]) -> None:
    if isinstance(module, nn.Linear):
        _slice(module, {"weight": 0, "bias": 0} if axis == "out" else {"weight": 1}, remove)
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _CONVOLUTIONS):
        if module.groups > 1:  # depthwise: a channel is read and produced by one filter
            _slice(module, {"weight": 0, "bias": 0}, remove)
            module.in_channels = module.out_channels = module.groups = module.weight.shape[0]
            return
        dim = reading_dim(module)
        assert dim is not None
        _slice(module, {"weight": 1 - dim, "bias": 0} if axis == "out" else {"weight": dim}, remove)
        module.in_channels, module.out_channels = module.weight.shape[dim], module.weight.shape[1 - dim]
    elif isinstance(module, nn.PReLU):
        if module.num_parameters > 1:
            _slice(module, {"weight": 0}, remove)
            module.num_parameters = module.weight.shape[0]
    else:
        _slice(module, {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}, remove)
        module.num_features -= len(remove)


def _slice(module: Any, dims: Mapping[str, int], remove: tuple[int, ...]) -> None:
    gone = set(remove)
    for name, dim in dims.items():
        tensor = getattr(module, name, None)
        if tensor is None:
            continue
        keep = torch.tensor([index for index in range(tensor.shape[dim]) if index not in gone])
        kept = tensor.detach().index_select(dim, keep)
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(module, name, nn.Parameter(kept, requires_grad=tensor.requires_grad) if is_parameter else kept)
