"""The importance of each unit of a group, by its weights or by the change of the loss without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from edgekit.data.training import NO_LABEL
from edgekit.model import Model
from edgekit.passes.prune.pruning_plan import Group, Member, reading_dim
from edgekit.passes.train.batches import run, seed_of
from edgekit.plugin import Training
from edgekit.tasks.config import TaskConfig

BATCH = 16
"""Samples in a batch: squared changes are summed over batches, and large batches average out what single samples need.
"""


def by_magnitude(module: Any, groups: Sequence[Group]) -> list[list[float]]:
    """Return the mean square of the weights of each group's units over the members, with each member's mean at 1.

    After L2 group importance of DepGraph (arXiv:2301.12900): what produces a unit and what reads it count equally.
    """
    with torch.no_grad():
        return [
            _scaled(sum((_squares(module, member) for member in group.members), torch.zeros(1))) for group in groups
        ]


def by_taylor(module: Any, groups: Sequence[Group], losses: Iterable[Any]) -> list[list[float]]:
    """Return the squared change of the loss by removing each group's units, to first order, summed over batches.

    After arXiv:1906.10771; the weights considered are those that read the unit, because removing it equals setting
    them to zero. `losses` yields scalars of `module`, one for each batch; gradients are left as None.
    """
    totals = [torch.zeros(group.size, dtype=torch.float64) for group in groups]
    for loss in losses:
        module.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for group, total in zip(groups, totals, strict=True):
                total += sum((_change(module, member) for member in group.readers), torch.zeros(1)).double() ** 2
    module.zero_grad(set_to_none=True)
    return [total.tolist() for total in totals]


def _squares(module: Any, member: Member) -> torch.Tensor:
    part = module.get_submodule(member.module)
    weight = getattr(part, "weight", None)
    if weight is None or (member.axis == "out" and weight.dim() == 1 and weight.numel() == 1):
        return torch.zeros(1)
    dim = reading_dim(part)
    along = 0 if dim is None else (dim if member.axis == "in" else 1 - dim)
    per_unit = _per_unit(weight.square(), along, member)
    mean = per_unit.mean()
    return per_unit / mean if mean > 0 else per_unit


def _change(module: Any, member: Member) -> torch.Tensor:
    part = module.get_submodule(member.module)
    dim = reading_dim(part)
    if dim is None or part.weight.grad is None:
        return torch.zeros(1)
    return _per_unit(part.weight * part.weight.grad, dim, member)


def _per_unit(values: torch.Tensor, dim: int, member: Member) -> torch.Tensor:
    """Return the sum of all values of each unit; its channels are indices along `dim`."""
    channels = values.movedim(dim, 0).flatten(1).sum(1) if values.dim() > 1 else values
    return channels[torch.tensor(member.channels)].sum(1)


def _scaled(scores: torch.Tensor) -> list[float]:
    mean = scores.mean()
    return [float(score) for score in (scores / mean if mean > 0 else scores)]


def losses(model: Model, training: Training, samples: int) -> Iterator[Any]:
    """Yield the loss of batches of training samples, drawn by the seed: against the labels where there are any.

    Without labels the model's own top class is the label, and without classes the outputs' size is the loss: the
    distance from the teacher has no gradient as long as student and teacher are equal.
    """
    data = training.data
    config = TaskConfig.load(model.assets)
    probabilities = config is not None and config.activation == "probabilities"
    generator = torch.Generator().manual_seed(seed_of(training.seed, "importance"))
    drawn = torch.randperm(len(data), generator=generator)[:samples].tolist()
    for start in range(0, len(drawn), BATCH):
        chosen = drawn[start : start + BATCH]
        inputs = {name: torch.from_numpy(array) for name, array in data.batch(chosen).items()}
        outputs = run(model, inputs)
        if data.problem == "classes":
            labels = None if data.labels is None else torch.tensor([data.labels[index] for index in chosen])
            yield _by_classes(outputs[data.answer or next(iter(outputs))], labels, probabilities)
        else:
            yield _by_size(outputs)


def _by_classes(answer: Any, labels: Any, probabilities: bool) -> Any:
    if answer.shape[-1] == 1:  # one logit of two classes
        logits = (answer.clamp(1e-6, 1 - 1e-6).logit() if probabilities else answer).flatten()
        own = (logits > 0).detach().float()
        truth = own if labels is None else torch.where(labels == NO_LABEL, own, labels.float())
        return functional.binary_cross_entropy_with_logits(logits, truth)
    scores = answer.clamp_min(1e-9).log() if probabilities else answer
    own = scores.detach().argmax(-1)
    truth = own if labels is None else torch.where(labels == NO_LABEL, own, labels)
    return functional.cross_entropy(scores, truth)


def _by_size(outputs: Mapping[str, Any]) -> Any:
    return sum(
        (output**2).sum() / (output.detach() ** 2).sum().clamp_min(1e-12)
        for output in outputs.values()
        if output.is_floating_point()
    )
