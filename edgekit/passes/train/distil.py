"""The loss of a student: the distance of its outputs from its teacher's, and of its answers from the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.data import Problem
from edgekit.data.training import NO_LABEL
from edgekit.errors import UnsupportedError, UsageError

MASK = "attention_mask"
"""The input that marks the real positions of a sequence; the others are padding."""


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
    """Whether the answer is already the result of a softmax."""
    temperature: float
    label_weight: float

    def loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], labels: Any, inputs: Mapping[str, Any]
    ) -> Any:
        """Return one number, a tensor with its gradient, for a batch of outputs by name."""
        if self.problem == "outputs":
            return self._distance(student, teacher, inputs.get(MASK))
        name = self.answer or next(iter(student))
        student_output, teacher_output = student[name], teacher[name]
        if self.problem == "numbers":
            return _relative(student_output, teacher_output, None)
        if self.problem == "several-labels" or student_output.shape[-1] == 1:
            return self._independent(student_output, teacher_output, labels)
        return self._classes(student_output, teacher_output, labels)

    def _classes(self, student: Any, teacher: Any, labels: Any) -> Any:
        from torch.nn import functional

        if self.probabilities:
            student, teacher = student.clamp_min(1e-9).log(), teacher.clamp_min(1e-9).log()
        soft = functional.kl_div(
            functional.log_softmax(student / self.temperature, -1),
            functional.log_softmax(teacher / self.temperature, -1),
            reduction="batchmean",
            log_target=True,
        )
        soft = soft * self.temperature**2
        if labels is None or not self.label_weight or not bool((labels != NO_LABEL).any()):
            return soft
        highest = int(labels.max())
        if highest >= student.shape[-1]:
            raise UsageError(
                f"the training data has the label {highest}, and the model has {student.shape[-1]} classes.",
                hint="classes count from 0; name the label column with --label-column",
            )
        hard = functional.cross_entropy(student, labels, ignore_index=NO_LABEL)
        return (1 - self.label_weight) * soft + self.label_weight * hard

    def _independent(self, student: Any, teacher: Any, labels: Any) -> Any:
        """Compare independent yes-or-no answers: one logit for two classes, or one for each class."""
        from torch.nn import functional

        logits = student.clamp(1e-6, 1 - 1e-6).logit() if self.probabilities else student
        soft = functional.binary_cross_entropy_with_logits(logits, teacher if self.probabilities else teacher.sigmoid())
        if labels is None or not self.label_weight or self.problem != "classes":
            return soft
        known = labels != NO_LABEL
        if not bool(known.any()):
            return soft
        hard = functional.binary_cross_entropy_with_logits(logits.flatten()[known], labels[known].float())
        return (1 - self.label_weight) * soft + self.label_weight * hard

    def _distance(self, student: Mapping[str, Any], teacher: Mapping[str, Any], mask: Any) -> Any:
        distances = [
            _relative(student[name], output, mask) for name, output in teacher.items() if output.is_floating_point()
        ]
        if not distances:
            raise UnsupportedError("no output of the model is floating-point: nothing can be trained.")
        return sum(distances) / len(distances)


def _relative(student: Any, teacher: Any, mask: Any) -> Any:
    """Return ||student - teacher||^2 / ||teacher||^2, over the real positions of sequences."""
    error, size = (student - teacher) ** 2, teacher**2
    if mask is not None and teacher.dim() >= 2 and teacher.shape[:2] == mask.shape:
        real = mask.to(error.dtype).reshape(*mask.shape, *([1] * (teacher.dim() - 2)))
        error, size = error * real, size * real
    return error.sum() / size.sum().clamp_min(1e-12)
