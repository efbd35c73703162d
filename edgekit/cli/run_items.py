"""Many answers of a bundle as JSON lines: an input that cannot be answered costs its own line."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from edgekit.bundle.predictor import Predictor
    from edgekit.data import Sample
    from edgekit.progress import Progress
    from edgekit.tasks import Task


def answer(
    predictor: Predictor,
    task: Task,
    items: Sequence[tuple[str, Callable[[], Sample]]],
    output: Path | IO[str],
    progress: Progress,
    seed: int,
) -> None:
    """Write the answer of each item. Raises UsageError at the end where some could not be answered."""
    failed: list[tuple[str, EdgekitError]] = []
    start = time.perf_counter()
    with _opened(output) as file, progress.step("answering", len(items)) as tick:
        for name, read in items:
            try:
                line = {"input": name, "answer": predictor.answer(read(), task, seed=seed)}
            except UsageError as error:  # of this input: a picture that does not open, a row without a column
                failed.append((name, error))
                line = {"input": name, "error": error.message}
            file.write(json.dumps(line, ensure_ascii=False, default=float) + "\n")
            tick()
    seconds = time.perf_counter() - start
    count = len(items) - len(failed)
    progress.note(f"{count} answers in {seconds:.1f} s: {count / seconds:.1f} a second")
    if failed:
        name, first = failed[0]
        raise UsageError(
            f"{len(failed)} of {len(items)} inputs were not answered; the first, '{name}': {first.message}",
            hint=first.hint or "correct that input; the others are answered",
        )


@contextlib.contextmanager
def _opened(output: Path | IO[str]) -> Iterator[IO[str]]:
    """Yield the stream to write to; a file is written whole or not at all."""
    if not isinstance(output, Path):
        yield output
        return
    from edgekit._files import replacing

    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file
