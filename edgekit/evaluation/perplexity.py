"""Perplexity of the tokens that a recorded trace feeds: the text of the sample, or the original's own where the task
records what the original generates. A candidate is asked for each of them in the same place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.tasks.task import Inference
from edgekit.tasks.text import IDS

if TYPE_CHECKING:
    import numpy as np

LOGITS = "logits"


class Perplexity:
    """How surprising the tokens are to the original and to a candidate, sample by sample."""

    def __init__(self) -> None:
        self._tokens, self._original, self._candidate = 0, 0.0, 0.0

    def add(self, trace: Sequence[Inference], outputs: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Add one sample: a token that a call feeds is judged by the scores of the call before."""
        for before, after, output in zip(trace, trace[1:], outputs, strict=False):
            fed = after.feeds.get(IDS)
            if fed is None or fed.shape != (1, 1) or LOGITS not in before.outputs:
                continue
            token = int(fed[0, 0])
            self._tokens += 1
            self._original += _surprise(before.outputs[LOGITS][0, -1], token)
            self._candidate += _surprise(output[LOGITS][0, -1], token)

    def values(self) -> tuple[float | None, float | None]:
        """Return the perplexity of the original and of the candidate; None where no token was judged."""
        if not self._tokens:
            return None, None
        return _power(self._original / self._tokens), _power(self._candidate / self._tokens)


def _surprise(scores: np.ndarray, token: int) -> float:
    """Return the negative logarithm of the token's probability."""
    import numpy as np

    scores = scores.astype(np.float32)
    highest = scores.max()
    return float(highest - scores[token] + np.log(np.exp(scores - highest).sum()))


def _power(mean: float) -> float:
    return math.exp(mean) if mean < 700 else math.inf
