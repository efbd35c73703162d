"""Which output of a graph holds the scores of a classifier's classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgekit.errors import UsageError, nearest
from edgekit.spec import TensorSpec

FLOATS = ("f64", "f32", "f16", "bf16")

_SCORES = re.compile(r"logit|prob|score", re.IGNORECASE)
"""What the names of outputs with scores contain."""


def check_output(name: str, outputs: Sequence[TensorSpec]) -> TensorSpec:
    """Return the output that a user names. Raises UsageError for one that the graph does not have."""
    for spec in outputs:
        if spec.name == name:
            return spec
    names = [spec.name for spec in outputs]
    raise UsageError(
        f"the model has no output '{name}'.{nearest(name, names)}", hint=f"its outputs: {', '.join(map(str, outputs))}"
    )


def scores_of(outputs: Sequence[TensorSpec]) -> TensorSpec:
    """Return the output that holds the scores: the only one that can, else the only one with such a name.

    An integer is a decision, never a score. Raises UsageError, with the outputs' names, where none or several can.
    """
    if not outputs:  # a model that does not list them, as a test's
        raise UsageError("the model lists no outputs.", hint="export it again")
    listed = ", ".join(map(str, outputs))
    floats = [spec for spec in outputs if spec.dtype in FLOATS]
    if not floats:
        raise UsageError(
            f"no output of the model holds scores, which are floating-point numbers: {listed}.",
            hint="export the model with its probabilities or logits too, or compare the outputs with --task tensor",
        )
    shaped = [spec for spec in floats if len(spec.shape) in (1, 2) or set(spec.shape[2:]) == {1}] or floats
    named = [spec for spec in shaped if _SCORES.search(spec.name)]
    for specs in (shaped, named):
        if len(specs) == 1:
            return specs[0]
    raise UsageError(
        f"several outputs of the model may hold the scores of the classes: {listed}.",
        hint=f"name the one that does: --output-name {(named or shaped)[0].name}",
    )


def width(spec: TensorSpec) -> int | None:
    """Return how many scores an output has; None where its shape does not show it."""
    sizes = spec.shape if len(spec.shape) == 1 else spec.shape[1:]
    numbers = [size for size in sizes if isinstance(size, int)]
    if not sizes or len(numbers) < len(sizes):
        return None
    product = 1
    for size in numbers:
        product *= size
    return product
