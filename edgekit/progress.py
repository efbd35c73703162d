"""The progress of long work: a small protocol that the command line draws and the library leaves silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Tick(Protocol):
    """A call that advances the running step by `count` units; `detail` describes the current unit."""

    def __call__(self, count: int = 1, detail: str = "") -> None: ...


class Progress(Protocol):
    """Receives the steps of long work; implementations draw on stderr."""

    def step(self, title: str, total: int | None = None) -> AbstractContextManager[Tick]:
        """Return a context that lasts as long as the step; `total` units are expected, None when unknown."""
        ...

    def note(self, text: str) -> None:
        """Print a line that stays: a warning or a result."""
        ...


class Silent:
    """The default progress of a library call: draws nothing."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Tick]:
        def tick(count: int = 1, detail: str = "") -> None:
            pass

        yield tick

    def note(self, text: str) -> None:
        pass
