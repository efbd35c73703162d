"""Progress on stderr: a live display on a terminal, one line a step elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from edgekit._text import visible
from edgekit.progress import Progress, Silent, Tick

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


@contextlib.contextmanager
def for_terminal(*, quiet: bool, verbose: bool) -> Iterator[Progress]:
    """Yield the progress that suits this terminal."""
    stream = sys.stderr
    if quiet:
        yield Silent()
    elif stream.isatty() and os.environ.get("TERM") != "dumb" and _has_rich():
        with _display() as display:
            yield Live(display)
    else:
        yield Lines(stream, verbose)


class _Depth(threading.local):
    """The number of open steps in this thread: several devices are deployed to at once, each in a thread."""

    value = 0


class Prefixed:
    """The progress of one of several devices: every step and note begins with its name."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name

    def step(self, title: str, total: int | None = None) -> contextlib.AbstractContextManager[Tick]:
        return self._progress.step(f"{self._name}: {title}", total)

    def note(self, text: str) -> None:
        self._progress.note(f"{self._name}: {text}")


class Lines:
    """One line when a step begins, with the seconds since the job began: for the log of a build pipeline."""

    def __init__(self, stream: TextIO, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._start = time.perf_counter()
        self._depth = _Depth()

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Tick]:
        self._write(title)
        start = time.perf_counter()
        self._depth.value += 1

        def tick(count: int = 1, detail: str = "") -> None:
            if self._verbose and detail:
                self._write(detail)

        try:
            yield tick
        finally:
            self._depth.value -= 1
            if self._verbose:
                self._write(f"{title}: {time.perf_counter() - start:.1f} s")

    def note(self, text: str) -> None:
        self._write(f"note: {text}")

    def _write(self, text: str) -> None:
        elapsed = time.perf_counter() - self._start
        print(f"[{elapsed:7.1f} s] {'  ' * self._depth.value}{visible(text)}", file=self._stream, flush=True)


class Live:
    """A row for each running step: its elapsed time, a bar and an estimate where the total is known.

    Finished steps stay as lines.
    """

    def __init__(self, display: RichProgress) -> None:
        self._display = display
        self._depth = _Depth()

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Tick]:
        indent = "  " * self._depth.value
        task = self._display.add_task(indent + visible(title), total=total, detail="", bar=total is not None)
        start = time.perf_counter()
        self._depth.value += 1
        done = False

        def tick(count: int = 1, detail: str = "") -> None:
            self._display.update(task, advance=count, detail=visible(detail))

        try:
            yield tick
            done = True
        finally:
            self._depth.value -= 1
            self._display.remove_task(task)
            mark = "[green]✓[/green]" if done else "[red]✗[/red]"
            self._print(f"{mark} {indent}", title, f"  [dim]{time.perf_counter() - start:.1f} s[/dim]")

    def note(self, text: str) -> None:
        self._print("[yellow]![/yellow] ", text, "")

    def _print(self, before: str, text: str, after: str) -> None:
        from rich.markup import escape

        self._display.console.print(f"{before}{escape(visible(text))}{after}", highlight=False)


def _has_rich() -> bool:
    from importlib.util import find_spec

    return find_spec("rich") is not None  # a device has edgekit and a plugin only


def _display() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class WhenCounted(ProgressColumn):
        """The bar of a step whose total is known; without a total it would only pulse."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._bar = BarColumn(bar_width=24)

        def render(self, task: Task) -> Any:
            return self._bar.render(task) if task.fields["bar"] else Text("")

    class Estimate(ProgressColumn):
        """The estimated time that is left, once there is an estimate."""

        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            left = task.time_remaining if task.fields["bar"] else None
            return Text("" if left is None else f"{_duration(left)} left", style="dim")

    return RichProgress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        WhenCounted(),
        TimeElapsedColumn(),
        Estimate(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
        console=Console(stderr=True),
        transient=True,
    )


def _duration(seconds: float) -> str:
    whole = int(seconds + 0.5)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60:02} s"
