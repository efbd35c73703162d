"""Many answers of a bundle as JSON lines or drawn pictures: an input that cannot be answered costs its own line."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgekit.errors import EdgekitError, UsageError
from edgekit.tasks.task import Drawing

if TYPE_CHECKING:
    from edgekit.bundle.predictor import Predictor
    from edgekit.data import Sample
    from edgekit.progress import Progress
    from edgekit.tasks import Task
    from edgekit.tasks.drawing import Image


def answer(
    predictor: Predictor,
    task: Task,
    items: Sequence[tuple[str, Callable[[], Sample]]],
    output: Path | None,
    result: IO[str],
    progress: Progress,
    seed: int,
) -> None:
    """Write the answer of each item to `output`, or else to `result`.

    Raises UsageError at the end where some could not be answered.
    """
    failed: list[tuple[str, EdgekitError]] = []
    start = time.perf_counter()
    pictures = _Pictures.of(output, [name for name, _ in items], task, result) if output is not None else None
    with (
        _opened(pictures.lines if pictures else output or result) as file,
        progress.step("answering", len(items)) as tick,
    ):
        for name, read in items:
            try:
                if pictures is None:
                    line = {"input": name, "answer": predictor.answer(read(), task, seed=seed)}
                else:
                    answer, picture = predictor.drawn(read(), task)
                    line = {"input": name, "answer": answer, "picture": pictures.save(name, picture)}
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


PICTURES = (".png", ".jpg", ".jpeg", ".webp")

LINES = "answers.jsonl"
"""The file with all answers, in the folder of their pictures."""


@dataclass
class _Pictures:
    """Where answers are drawn to: one picture, or a folder with a picture for each input."""

    names: Mapping[str, Path]
    lines: Path | IO[str]

    @classmethod
    def of(cls, output: Path, items: Sequence[str], task: Task, result: IO[str]) -> _Pictures | None:
        """Return the pictures that `output` asks for; None for a file of lines. The answers of one picture go to
        `result`.

        Raises UsageError for one picture of several inputs.
        """
        if output.suffix.lower() in PICTURES:
            if len(items) > 1:
                raise UsageError(
                    f"'{output}' is one picture, and there are {len(items)} inputs.",
                    hint=f"give a folder: --output {output.with_suffix('')}",
                )
            return cls({items[0]: output}, result)
        if not output.is_dir() and (output.suffix or not isinstance(task, Drawing)):
            return None
        output.mkdir(parents=True, exist_ok=True)
        names: dict[str, Path] = {}
        for item in items:
            names[item] = _free(output / f"{Path(item).stem or 'input'}.png", set(names.values()))
        return cls(names, output / LINES)

    def save(self, item: str, picture: Image) -> str:
        """Write the picture of an input, whole or not at all, and return its path."""
        from edgekit._files import replacing

        path = self.names[item]
        with replacing(path) as temporary:
            picture.save(temporary, format="JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else path.suffix[1:])
        return str(path)


def _free(path: Path, taken: Collection[Path]) -> Path:
    """Return the path, with a number where another input has taken it."""
    number = 1
    candidate = path
    while candidate in taken:
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


@contextlib.contextmanager
def _opened(output: Path | IO[str]) -> Iterator[IO[str]]:
    """Yield the stream to write to; a file is written whole or not at all."""
    if not isinstance(output, Path):
        yield output
        return
    from edgekit._files import replacing

    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file
