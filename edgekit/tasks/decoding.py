"""From a decoder's scores to token ids: greedy and beam search and sampling, as transformers' `generate` does them, in
numpy.

A search is a generator: it yields which tokens to feed, and is sent the scores that follow the last of them. It begins
with a prompt: the start token of an encoder-decoder model, the user's text of a language model.
The formulas are those of transformers' generation/utils.py and generation/logits_process.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.tasks.config import Generation
from edgekit.tasks.restrictions import allowed, restrict

if TYPE_CHECKING:
    import numpy as np

NEVER = -1e9
"""The score of a hypothesis that must not be chosen."""


@dataclass(frozen=True)
class Feed:
    """The next tokens of each hypothesis, and from which hypothesis of the call before each continues.

    The first feed is the prompt, once, whatever the number of beams.
    """

    tokens: tuple[tuple[int, ...], ...]
    order: tuple[int, ...] | None = None
    """None before the first call, and where each continues itself."""


GROUP = 64
"""Scores of which the highest is found first where the best of many are wanted."""

Search = Generator[Feed, "np.ndarray", list[int]]
"""Yields what to feed, is sent the scores [hypotheses, vocabulary], and returns the ids that follow the prompt."""


def search(settings: Generation, prompt: Sequence[int] = (), *, seed: int = 0) -> Search:
    """Return the search that the settings ask for, from the start token where no prompt is given.

    With `sampled` each `seed` gives a text of its own, the same at each run.
    """
    if settings.beams > 1:
        return beams(settings, prompt)
    return sample(settings, prompt, seed) if settings.sampled else greedy(settings, prompt)


def stream(
    steps: Search,
    scores_of: Callable[[tuple[tuple[int, ...], ...]], np.ndarray],
    reorder: Callable[[Sequence[int]], None],
) -> Iterator[int]:
    """Yield the ids of a search, each as soon as it is known: those of beams at the end.

    `scores_of` runs the model on rows of tokens and returns the scores that follow them; `reorder` takes rows of its
    states.
    """
    given = 0
    try:
        feed = next(steps)
        while True:
            scores = scores_of(feed.tokens)
            feed = steps.send(scores)
            if feed.order is not None:
                reorder(feed.order)
            elif len(feed.tokens) == 1:
                given += 1
                yield feed.tokens[0][0]
    except StopIteration as end:
        yield from end.value[given:]


def greedy(settings: Generation, prompt: Sequence[int] = ()) -> Search:
    """Take the token of the highest score, until a stop id or the longest length."""
    return _one_by_one(settings, prompt, lambda scores: int(scores.argmax()))


def _one_by_one(settings: Generation, prompt: Sequence[int], chosen: Callable[[np.ndarray], int]) -> Search:
    """Take the token that `chosen` returns for the scores of those that may follow, one after the other."""
    ids = list(prompt) or [settings.start]
    begun = len(ids)
    longest, fed = settings.longest(begun), tuple(ids)
    while len(ids) < longest:
        scores = yield Feed((fed,))
        ids.append(chosen(allowed(settings, ids, scores[0], begun)))
        fed = (ids[-1],)
        if ids[-1] in settings.stops:
            break
    return ids[begun:]


def choose(settings: Generation, ids: Sequence[int], scores: np.ndarray, begun: int = 1) -> int:
    """Return the token that greedy search takes after `ids`, of which the first `begun` are the prompt."""
    return int(allowed(settings, ids, scores, begun).argmax())


def sample(settings: Generation, prompt: Sequence[int] = (), seed: int = 0) -> Search:
    """Draw each token by its probability, of those that temperature, top-k, top-p and min-p leave."""
    import numpy as np

    generator = np.random.default_rng(seed)

    def drawn(scores: np.ndarray) -> int:
        left = likely(settings, scores).astype(np.float64)
        powers = np.exp(left - left.max())
        return int(generator.choice(len(powers), p=powers / powers.sum()))

    return _one_by_one(settings, prompt, drawn)


def likely(settings: Generation, scores: np.ndarray) -> np.ndarray:
    """Return the scores [vocabulary] divided by the temperature, with -inf for tokens that are not drawn: those behind
    the `top_k` best, behind the share `top_p` of the probability, and below `min_p` of the best one's.
    """
    import numpy as np

    scores = scores / np.float32(settings.temperature)
    if 0 < settings.top_k < len(scores):
        scores = np.where(scores < np.partition(scores, -settings.top_k)[-settings.top_k], -np.inf, scores)
    if settings.top_p < 1.0:
        order = np.argsort(scores, kind="stable")
        behind = np.cumsum(_softmax(scores[order])) <= np.float32(1 - settings.top_p)
        behind[-1] = False
        scores = scores.copy()
        scores[order[behind]] = -np.inf
    if settings.min_p:
        probabilities = _softmax(scores)
        kept = probabilities >= np.float32(settings.min_p) * probabilities.max()
        scores = np.where(kept, scores, -np.inf)
    result: np.ndarray = scores.astype(np.float32)
    return result


def _softmax(scores: np.ndarray) -> np.ndarray:
    import numpy as np

    powers: np.ndarray = np.exp(scores - scores.max())
    probabilities: np.ndarray = powers / powers.sum(dtype=np.float32)
    return probabilities


def beams(settings: Generation, prompt: Sequence[int] = ()) -> Search:
    """Keep the best hypotheses in parallel, and return the finished one of the best score for its length."""
    import numpy as np

    width = settings.beams
    kept = max(2, 1 + len(settings.stops)) * width
    start = list(prompt) or [settings.start]
    begun, longest = len(start), settings.longest(len(start))
    if longest <= begun:
        return []
    running: list[list[int]] = [start for _ in range(width)]
    totals = np.array([0.0] + [NEVER] * (width - 1), np.float32)
    finished = _Finished(settings, start)
    scores = np.repeat((yield Feed((tuple(start),))), width, axis=0)
    while True:
        logs = _log_softmax(scores)
        restrict(settings, running, logs, begun)
        logs += totals[:, None]
        flat = logs.ravel()
        best = _top(flat, kept)
        longer = [[*running[index // logs.shape[1]], int(index % logs.shape[1])] for index in best]
        ended = np.array([ids[-1] in settings.stops or len(ids) >= longest for ids in longer])
        finished.add(longer, flat[best], ended)
        continued = flat[best] + np.where(ended, np.float32(NEVER), np.float32(0))
        chosen = _top(continued, width)
        # All hypotheses of the first call are one row.
        before = [0 if len(running[0]) == begun else int(best[place] // logs.shape[1]) for place in chosen]
        running, totals = [longer[place] for place in chosen], continued[chosen]
        if finished.complete(len(running[0]), float(totals[0])) or ended.all():
            return finished.best()
        scores = yield Feed(tuple((ids[-1],) for ids in running), tuple(before))


class _Finished:
    """The best finished hypotheses so far, as many as there are beams."""

    def __init__(self, settings: Generation, prompt: list[int]) -> None:
        import numpy as np

        self._settings, self._begun = settings, len(prompt)
        self._ids: list[list[int]] = [prompt for _ in range(settings.beams)]
        self._scores = np.full(settings.beams, NEVER, np.float32)
        self._done = np.zeros(settings.beams, bool)
        self._improvable = True

    def add(self, ids: list[list[int]], totals: np.ndarray, ended: np.ndarray) -> None:
        """Keep those that ended and are better than one that is kept. Only the first `beams` of them count."""
        import numpy as np

        settings = self._settings
        ended = ended & (np.arange(len(ids)) < settings.beams)
        scores = totals / np.float32((len(ids[0]) - self._begun) ** settings.length_penalty)
        full = self._done.all() and settings.early_stopping == "yes"
        closed = np.float32(NEVER) * (full + (not self._improvable))
        scores = scores + closed + np.where(ended, np.float32(0), np.float32(NEVER))
        merged = np.concatenate([self._scores, scores])
        best = _top(merged, settings.beams)
        everything, done = [*self._ids, *ids], np.concatenate([self._done, ended])
        self._ids, self._scores, self._done = [everything[place] for place in best], merged[best], done[best]

    def complete(self, length: int, running: float) -> bool:
        """Return whether no hypothesis of `length` tokens, the best of which has the sum `running`, is awaited."""
        import numpy as np

        settings = self._settings
        longest = settings.early_stopping == "never" and settings.length_penalty > 0.0
        best_length = (settings.longest(self._begun) if longest else length) - self._begun
        possible = np.float32(running) / np.float32(best_length**settings.length_penalty)
        worst = np.where(self._done, self._scores.min(), np.float32(NEVER))
        self._improvable = self._improvable and bool((possible > worst).any())
        return not self._improvable or bool(self._done.all() and settings.early_stopping == "yes")

    def best(self) -> list[int]:
        """Return the ids of the best one without the prompt."""
        return self._ids[0][self._begun :]


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    import numpy as np

    logs: np.ndarray = scores.astype(np.float32)
    logs -= logs.max(axis=-1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=-1, keepdims=True))
    return logs


def _top(values: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` highest values, the highest first."""
    import numpy as np

    groups = len(values) // GROUP
    if groups > 4 * count:
        # The highest values are in the `count` groups of the highest maxima: one reading leaves few places. A group is
        # every `groups`th value: numpy compares whole rows at once.
        highest = values[: groups * GROUP].reshape(GROUP, groups).max(axis=0)
        kept = np.argpartition(highest, groups - count)[groups - count :]
        grouped = (kept + groups * np.arange(GROUP)[:, None]).ravel()
        places = np.concatenate([grouped, np.arange(groups * GROUP, len(values))])
    else:
        places = np.arange(len(values))
    if count < len(places):
        places = places[np.argpartition(-values[places], count)[:count]]
    ordered: np.ndarray = places[np.argsort(-values[places], kind="stable")]
    return ordered
