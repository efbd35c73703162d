"""How long work tells of itself: a small protocol that the command line draws and the library keeps silent on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Tick(Protocol):
    """Advance the running step by `count` units, and optionally say what it is at."""

    def __call__(self, count: int = 1, detail: str = "") -> None: ...


class Progress(Protocol):
    """Receive what is being done; implementations draw on stderr."""

    def step(self, title: str, total: int | None = None) -> AbstractContextManager[Tick]:
        """Open a step; `total` units are expected, None when unknown."""
        ...

    def note(self, text: str) -> None:
        """Say one line that stays: a warning or a finding."""
        ...


class Silent:
    """The progress of a library call: none."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Tick]:
        def tick(count: int = 1, detail: str = "") -> None:
            pass

        yield tick

    def note(self, text: str) -> None:
        pass
