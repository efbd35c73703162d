"""What a student loses against its teacher: distance of their outputs, and of its answers to the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.data import Problem
from edgekit.data.training import NO_LABEL
from edgekit.errors import UnsupportedError, UsageError

MASK = "attention_mask"
"""The input that tells real places of a sequence from those that fill it up."""


@dataclass(frozen=True)
class Distillation:
    """Compare with the teacher, and with the labels where the answer is one class of several.

    Classes are compared by the Kullback-Leibler divergence of the distributions softened by `temperature`, times its
    square so that the gradient keeps its size (Hinton et al., arXiv:1503.02531); everything else by its squared error
    relative to the teacher's output.
    """

    problem: Problem
    answer: str | None
    probabilities: bool
    """The answer is softmax's result already."""
    temperature: float
    label_weight: float

    def loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], labels: Any, inputs: Mapping[str, Any]
    ) -> Any:
        """Give one number, a tensor with its gradient, for a batch of outputs by name."""
        if self.problem == "outputs":
            return self._distance(student, teacher, inputs.get(MASK))
        name = self.answer or next(iter(student))
        mine, other = student[name], teacher[name]
        if self.problem == "numbers":
            return _relative(mine, other, None)
        if self.problem == "several-labels" or mine.shape[-1] == 1:
            return self._apart(mine, other, labels)
        return self._classes(mine, other, labels)

    def _classes(self, mine: Any, other: Any, labels: Any) -> Any:
        from torch.nn import functional

        if self.probabilities:
            mine, other = mine.clamp_min(1e-9).log(), other.clamp_min(1e-9).log()
        heat = self.temperature
        soft = functional.kl_div(
            functional.log_softmax(mine / heat, -1),
            functional.log_softmax(other / heat, -1),
            reduction="batchmean",
            log_target=True,
        )
        soft = soft * heat**2
        if labels is None or not self.label_weight or not bool((labels != NO_LABEL).any()):
            return soft
        highest = int(labels.max())
        if highest >= mine.shape[-1]:
            raise UsageError(
                f"the training data has the label {highest}, and the model has {mine.shape[-1]} classes.",
                hint="classes count from 0; name the label column with --label-column",
            )
        hard = functional.cross_entropy(mine, labels, ignore_index=NO_LABEL)
        return (1 - self.label_weight) * soft + self.label_weight * hard

    def _apart(self, mine: Any, other: Any, labels: Any) -> Any:
        """Compare yes-or-no answers, each of its own: one logit of two classes, or one a class."""
        from torch.nn import functional

        logits = mine.clamp(1e-6, 1 - 1e-6).logit() if self.probabilities else mine
        soft = functional.binary_cross_entropy_with_logits(logits, other if self.probabilities else other.sigmoid())
        if labels is None or not self.label_weight or self.problem != "classes":
            return soft
        known = labels != NO_LABEL
        if not bool(known.any()):
            return soft
        hard = functional.binary_cross_entropy_with_logits(logits.flatten()[known], labels[known].float())
        return (1 - self.label_weight) * soft + self.label_weight * hard

    def _distance(self, student: Mapping[str, Any], teacher: Mapping[str, Any], mask: Any) -> Any:
        found = [_relative(student[name], other, mask) for name, other in teacher.items() if other.is_floating_point()]
        if not found:
            raise UnsupportedError("none of the model's outputs is a floating-point number: nothing can be trained.")
        return sum(found) / len(found)


def _relative(mine: Any, other: Any, mask: Any) -> Any:
    """Give ||student - teacher||^2 / ||teacher||^2, over the real places of sequences."""
    error, size = (mine - other) ** 2, other**2
    if mask is not None and other.dim() >= 2 and other.shape[:2] == mask.shape:
        real = mask.to(error.dtype).reshape(*mask.shape, *([1] * (other.dim() - 2)))
        error, size = error * real, size * real
    return error.sum() / size.sum().clamp_min(1e-12)
