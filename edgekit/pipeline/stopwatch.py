"""The time that the repairs of one export take, and their limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Counts seconds while it runs; `limit_s` is what may be spent in all, None without a limit."""

    def __init__(self, limit_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._before = 0.0
        self._started: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        self._started = self._clock()
        try:
            yield
        finally:
            self._before, self._started = self.spent_s, None

    @property
    def spent_s(self) -> float:
        return self._before + (0.0 if self._started is None else self._clock() - self._started)

    def leaves(self, seconds: float) -> bool:
        """Return whether `seconds` more stay within the limit."""
        return self.limit_s is None or self.spent_s + seconds <= self.limit_s
