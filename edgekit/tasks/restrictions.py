"""Which tokens may follow, and with what penalty, as transformers' generation/logits_process.py has it, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.tasks.config import Generation

if TYPE_CHECKING:
    import numpy as np


def allowed(settings: Generation, ids: Sequence[int], scores: np.ndarray, begun: int = 1) -> np.ndarray:
    """Return the scores [vocabulary] of the token after `ids`, with penalties, and -inf for what must not follow.

    The first `begun` ids are the prompt.
    """
    import numpy as np

    rows = scores.astype(np.float32)[None]
    restrict(settings, (ids,), rows, begun)
    result: np.ndarray = rows[0]
    return result


def restrict(settings: Generation, hypotheses: Sequence[Sequence[int]], scores: np.ndarray, begun: int) -> None:
    """Change the scores [hypotheses, vocabulary] to those that `allowed` returns for each; all are of one length."""
    import numpy as np

    length = len(hypotheses[0])
    if settings.repetition_penalty != 1.0 or settings.no_repeat_ngram or settings.bad_words:
        for ids, row in zip(hypotheses, scores, strict=True):
            _restrict_repeats(settings, ids, row)
    if length < settings.shortest(begun):
        scores[:, list(settings.stops)] = -np.inf
    if length == 1 and settings.forced_first is not None:
        _force(scores, (settings.forced_first,))
    if settings.forced_last and length == settings.longest(begun) - 1:
        _force(scores, settings.forced_last)
    if settings.suppressed:
        scores[:, list(settings.suppressed)] = -np.inf
    if settings.suppressed_first and length == (begun if begun > 1 or settings.forced_first is None else 2):
        scores[:, list(settings.suppressed_first)] = -np.inf


def _restrict_repeats(settings: Generation, ids: Sequence[int], scores: np.ndarray) -> None:
    """Change the scores [vocabulary] of what depends on the tokens before it."""
    import numpy as np

    if settings.repetition_penalty != 1.0:
        seen = sorted(set(ids))
        penalty = np.float32(settings.repetition_penalty)
        scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    if settings.no_repeat_ngram:
        scores[_repeats(ids, settings.no_repeat_ngram)] = -np.inf
    for word in settings.bad_words:
        if len(word) == 1 or (len(word) <= len(ids) and tuple(ids[1 - len(word) :]) == word[:-1]):
            scores[word[-1]] = -np.inf


def _force(scores: np.ndarray, tokens: Sequence[int]) -> None:
    import numpy as np

    scores[:] = -np.inf
    scores[:, list(tokens)] = 0


def _repeats(ids: Sequence[int], size: int) -> list[int]:
    """Return the tokens that would complete a group of `size` tokens that is there already."""
    if size < 1 or len(ids) + 1 < size:
        return []
    last = tuple(ids[len(ids) + 1 - size :])
    return [
        ids[place + size - 1] for place in range(len(ids) - size + 1) if tuple(ids[place : place + size - 1]) == last
    ]
