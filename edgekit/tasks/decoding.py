"""From a decoder's scores to token ids: greedy and beam search, as transformers' `generate` does them, in numpy.

A search is a generator: it yields which tokens to feed, and is sent the scores that follow them.
The formulas are those of transformers' generation/utils.py and generation/logits_process.py.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.tasks.config import Generation

if TYPE_CHECKING:
    import numpy as np

NEVER = -1e9
"""The score of a hypothesis that must not be chosen."""


@dataclass(frozen=True)
class Feed:
    """The next token of each hypothesis, and from which hypothesis of the call before each continues."""

    tokens: tuple[int, ...]
    order: tuple[int, ...] | None = None
    """None before the first call, and where each continues itself."""


Search = Generator[Feed, "np.ndarray", list[int]]
"""Yields what to feed, is sent the scores [hypotheses, vocabulary], and returns the ids without the start token."""


def search(settings: Generation) -> Search:
    """Return the search that the settings ask for."""
    return beams(settings) if settings.beams > 1 else greedy(settings)


def greedy(settings: Generation) -> Search:
    """Take the token of the highest score, until a stop id or the longest length."""
    ids = [settings.start]
    while len(ids) < settings.max_length:
        scores = yield Feed((ids[-1],))
        ids.append(choose(settings, ids, scores[0]))
        if ids[-1] in settings.stops:
            break
    return ids[1:]


def choose(settings: Generation, ids: Sequence[int], scores: np.ndarray) -> int:
    """Return the token that greedy search takes after `ids`."""
    return int(allowed(settings, ids, scores).argmax())


def allowed(settings: Generation, ids: Sequence[int], scores: np.ndarray) -> np.ndarray:
    """Return the scores [vocabulary] of the token after `ids`, with penalties, and -inf for what must not follow."""
    import numpy as np

    scores = scores.astype(np.float32)
    length = len(ids)
    if settings.repetition_penalty != 1.0:
        seen = sorted(set(ids))
        penalty = np.float32(settings.repetition_penalty)
        scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    scores[_repeats(ids, settings.no_repeat_ngram)] = -np.inf
    for word in settings.bad_words:
        if len(word) <= max(length, 1) and (len(word) == 1 or list(ids[1 - len(word) :]) == list(word[:-1])):
            scores[word[-1]] = -np.inf
    if length < settings.min_length:
        scores[list(settings.stops)] = -np.inf
    if length == 1 and settings.forced_first is not None:
        scores = _only(scores, (settings.forced_first,))
    if length == settings.max_length - 1 and settings.forced_last:
        scores = _only(scores, settings.forced_last)
    scores[list(settings.suppressed)] = -np.inf
    if length == (1 if settings.forced_first is None else 2):
        scores[list(settings.suppressed_first)] = -np.inf
    return scores


def _only(scores: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    import numpy as np

    forced = np.full_like(scores, -np.inf)
    forced[list(tokens)] = 0
    return forced


def _repeats(ids: Sequence[int], size: int) -> list[int]:
    """Return the tokens that would complete a group of `size` tokens that is there already."""
    if size < 1 or len(ids) + 1 < size:
        return []
    last = tuple(ids[len(ids) + 1 - size :])
    return [
        ids[place + size - 1] for place in range(len(ids) - size + 1) if tuple(ids[place : place + size - 1]) == last
    ]


def beams(settings: Generation) -> Search:
    """Keep the best hypotheses in parallel, and return the finished one of the best score for its length."""
    import numpy as np

    width = settings.beams
    kept = max(2, 1 + len(settings.stops)) * width
    running: list[list[int]] = [[settings.start] for _ in range(width)]
    totals = np.array([0.0] + [NEVER] * (width - 1), np.float32)
    finished = _Finished(settings)
    order: tuple[int, ...] | None = None
    while True:
        scores = yield Feed(tuple(ids[-1] for ids in running), order)
        logs = np.stack([allowed(settings, ids, row) for ids, row in zip(running, _log_softmax(scores), strict=True)])
        flat = (logs + totals[:, None]).ravel()
        best = _top(flat, kept)
        longer = [[*running[index // logs.shape[1]], int(index % logs.shape[1])] for index in best]
        ended = np.array([ids[-1] in settings.stops or len(ids) >= settings.max_length for ids in longer])
        finished.add(longer, flat[best], ended)
        continued = flat[best] + np.where(ended, np.float32(NEVER), np.float32(0))
        chosen = _top(continued, width)
        order = tuple(int(best[place] // logs.shape[1]) for place in chosen)
        running, totals = [longer[place] for place in chosen], continued[chosen]
        if finished.complete(len(running[0]) - 1, float(totals[0])) or ended.all():
            return finished.best()


class _Finished:
    """The best finished hypotheses so far, as many as there are beams."""

    def __init__(self, settings: Generation) -> None:
        import numpy as np

        self._settings = settings
        self._ids: list[list[int]] = [[settings.start] for _ in range(settings.beams)]
        self._scores = np.full(settings.beams, NEVER, np.float32)
        self._done = np.zeros(settings.beams, bool)
        self._improvable = True

    def add(self, ids: list[list[int]], totals: np.ndarray, ended: np.ndarray) -> None:
        """Keep those that ended and are better than one that is kept. Only the first `beams` of them count."""
        import numpy as np

        settings = self._settings
        ended = ended & (np.arange(len(ids)) < settings.beams)
        scores = totals / np.float32((len(ids[0]) - 1) ** settings.length_penalty)
        full = self._done.all() and settings.early_stopping == "yes"
        closed = np.float32(NEVER) * (full + (not self._improvable))
        scores = scores + closed + np.where(ended, np.float32(0), np.float32(NEVER))
        merged = np.concatenate([self._scores, scores])
        best = _top(merged, settings.beams)
        everything, done = [*self._ids, *ids], np.concatenate([self._done, ended])
        self._ids, self._scores, self._done = [everything[place] for place in best], merged[best], done[best]

    def complete(self, length: int, running: float) -> bool:
        """Return whether no hypothesis of `length` new tokens, the best of which has the sum `running`, is awaited."""
        import numpy as np

        settings = self._settings
        longest = settings.early_stopping == "never" and settings.length_penalty > 0.0
        best_length = settings.max_length - 1 if longest else length
        possible = np.float32(running) / np.float32(best_length**settings.length_penalty)
        worst = np.where(self._done, self._scores.min(), np.float32(NEVER))
        self._improvable = self._improvable and bool((possible > worst).any())
        return not self._improvable or bool(self._done.all() and settings.early_stopping == "yes")

    def best(self) -> list[int]:
        """Return the ids of the best one without the start token."""
        return self._ids[0][1:]


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    import numpy as np

    shifted = scores.astype(np.float32) - scores.max(axis=-1, keepdims=True)
    logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


def _top(values: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` highest values, the highest first."""
    import numpy as np

    places = np.argpartition(-values, count)[:count] if count < len(values) else np.arange(len(values))
    ordered: np.ndarray = places[np.argsort(-values[places], kind="stable")]
    return ordered
