"""Whether the original answers one sample alike each time: nothing can be compared with a model that draws random
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgekit.errors import UnsupportedError, UsageError
from edgekit.evaluation.deviation import Deviation
from edgekit.model import Original, OriginalOfParts
from edgekit.tasks.task import Inference

if TYPE_CHECKING:
    import numpy as np

SAMPLES = 2
"""So many samples are run again."""

CALLS = 4
"""So many calls of each."""

ROUNDING = 1e-4
"""Relative L2 difference below which two runs agree: sums that threads add in another order differ by 1e-6."""


@runtime_checkable
class Seeded(Protocol):
    """An original whose random numbers follow a seed."""

    def random_operators(self, feeds: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        """Return the operators that draw random numbers on these feeds, in words, each with its node or module."""
        ...

    def run_seeded(self, feeds: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """Return the outputs of a session of its own, whose random numbers begin at `seed`."""
        ...


def check(original: Original, trace: Sequence[Inference]) -> None:
    """Run the calls of one sample again. Raises UnsupportedError where the outputs are others."""
    if isinstance(original, OriginalOfParts):
        original.start()
    for inference in trace[:CALLS]:
        feeds = inference.feeds
        if isinstance(original, Seeded):
            runs = original.run_seeded(feeds, 1), original.run_seeded(feeds, 2)
        elif isinstance(original, OriginalOfParts):
            runs = dict(inference.outputs), original.run_part(inference.part, feeds)
        else:
            runs = dict(inference.outputs), original.run(feeds)
        name, difference = _difference(*runs)
        if difference <= ROUNDING:
            continue
        operators = original.random_operators(feeds) if isinstance(original, Seeded) else ()
        size = "its size" if math.isinf(difference) else f"a relative L2 of {difference:.1e}"
        differs = f"run twice on one sample, its output '{name}' differs by {size}"
        if operators:
            raise UnsupportedError(
                f"the original draws random numbers, and nothing can be compared with it: {differs}.",
                problems=operators[:10],
                hint="export it in evaluation mode (dropout with training=False), make the noise an input, or return "
                "the mean of what is sampled",
            )
        raise UnsupportedError(
            f"the original answers one input differently each time, and nothing can be compared with it: {differs}.",
            hint="make a state that it keeps between calls an input and an output, or remove what is random",
        )


def _difference(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """Return the output that differs most, and its relative L2 difference; infinite where sizes differ."""
    deviation = Deviation()
    try:
        deviation.add(before, after)
    except UsageError:
        return next((name for name in before if before[name].shape != after[name].shape), ""), math.inf
    worst = max(deviation.parts(), key=lambda part: part.rel_l2, default=None)
    return ("", 0.0) if worst is None else (worst.output, worst.rel_l2)
