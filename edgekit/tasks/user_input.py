"""The sample that the words of a command line describe: a picture, a sound, a text, two texts, or a table's row."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edgekit.data import Sample
from edgekit.data.load import FILES
from edgekit.data.load import load as load_data
from edgekit.data.picture import SUFFIXES
from edgekit.data.sound import SOUNDS
from edgekit.errors import UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks import TABULAR, Task, chat, load
from edgekit.tasks.text import count_cut

PEEK = 4096
"""How many bytes of a file show whether it is text."""


def by_position(task: Task, assets: Path, inputs: Sequence[TensorSpec]) -> Task:
    """Return the task without the column names of the data it was exported with: a user's texts have only positions."""
    if task.config.text is None or not task.config.text.columns:
        return task
    return load(replace(task.config, text=replace(task.config.text, columns=())), assets, inputs)


def sample(task: Task, inputs: Sequence[str]) -> Sample:
    """Return the sample that a user's words describe: an image's path, one or two texts, a row as a JSON object.

    Raises UsageError for words that the task does not accept.
    """
    config = task.config
    if (kind := file_kind(task)) is not None:
        if len(inputs) != 1:
            raise UsageError(
                f"the task '{config.task}' takes one {kind}, {len(inputs)} inputs are given.",
                hint=f"run it once for each {kind}: edgekit run BUNDLE FILE",
            )
        path = Path(inputs[0])
        if not path.is_file():
            raise UsageError(
                f"the {kind} file '{path}' does not exist.",
                hint=f"give the path of {'an image' if kind == 'image' else 'a sound'}, or an .npz file of arrays",
            )
        return Sample({kind: path})
    if config.text is not None:
        if len(inputs) > 2:
            raise UsageError(
                f"the task '{config.task}' takes a text or a pair of texts, {len(inputs)} are given.",
                hint="put each text in quotes",
            )
        texts = [_text(text) for text in inputs]
        names = ("text", "text_pair")[: len(texts)]
        return Sample(dict(zip(names, texts, strict=True)), None, names)
    if (config.tabular is not None or config.task in TABULAR) and len(inputs) == 1:
        return Sample(_row(inputs[0], config.tabular.columns if config.tabular is not None else ()))
    why = f": {config.no_preprocessing}" if config.no_preprocessing else ""
    raise UsageError(
        f"the bundle of the task '{config.task}' reads arrays{why}.",
        hint="give an .npz file with an array for each input of the graph",
    )


def file_kind(task: Task) -> Literal["image", "sound"] | None:
    """Return what the file is that a task takes; None for a task that takes none."""
    return "image" if task.config.image is not None else "sound" if task.config.audio is not None else None


def of_value(task: Task, value: Any) -> Sample:
    """Return the sample of a Python value: words as on the command line, a picture's path, array or Pillow image,
    fields by name, or the array of a graph with one input.

    Raises UsageError for a value that the task does not take.
    """
    if chat.is_messages(value):
        return Sample({chat.MESSAGES: value})
    if isinstance(value, Mapping):
        return Sample(dict(value))
    if isinstance(value, (str, Path)):
        return sample(task, [str(value)])
    if isinstance(value, tuple) and value and all(isinstance(word, str) for word in value):
        return sample(task, value)
    if (kind := file_kind(task)) is not None:
        return Sample({kind: value})
    names = [spec.name for spec in task_inputs(task)]
    if hasattr(value, "dtype") and len(names) == 1:
        return Sample({names[0]: value})
    raise UsageError(
        f"the task '{task.config.task}' does not take a value of the type '{type(value).__name__}'.",
        hint=f"give fields by name, as {{'{names[0] if names else 'input'}': array}}",
    )


def task_inputs(task: Task) -> Sequence[TensorSpec]:
    """Return the inputs that a task's preparation fills."""
    prepare = getattr(getattr(task, "task", task), "prepare", None)  # a metric of the user's own wraps the task
    specs: Sequence[TensorSpec] = getattr(prepare, "inputs", ())
    return specs


def items(task: Task, words: Sequence[str]) -> list[tuple[str, Callable[[], Sample]]] | None:
    """Return the inputs of many answers, each with its name and how to read it: the pictures of folders and of several
    words, the rows of tables. None where the words describe one sample.

    Raises UsageError for a folder without inputs.
    """
    if (kind := file_kind(task)) is not None:
        if len(words) == 1 and not Path(words[0]).is_dir() and not _is_table(words[0]):
            return None
        return [item for word in words for file in _files(word, kind) for item in _read(task, file)]
    if not any(Path(word).is_dir() or _is_table(word) for word in words if _may_be_path(word)):
        return None
    return [item for word in words for item in _read(task, word)]


def _files(word: str, kind: Literal["image", "sound"]) -> list[str]:
    """Return the pictures or sounds in a folder and below it, sorted; a file itself."""
    suffixes = SUFFIXES if kind == "image" else SOUNDS
    if not Path(word).is_dir():
        return [word]
    files = [str(path) for path in sorted(Path(word).rglob("*")) if path.suffix.lower() in suffixes and path.is_file()]
    if not files:
        raise UsageError(
            f"the folder '{word}' holds no {'pictures' if kind == 'image' else 'sounds'}.",
            hint=f"give a folder with files named {', '.join(suffixes[:3])}",
        )
    return files


def _read(task: Task, word: str) -> list[tuple[str, Callable[[], Sample]]]:
    if Path(word).suffix.lower() in (*SUFFIXES, *SOUNDS) or not Path(word).exists():
        return [(word, functools.partial(sample, task, [word]))]
    rows = load_data(word)
    return [(f"{word}:{place + 1}", functools.partial(rows.__getitem__, place)) for place in range(len(rows))]


def _is_table(word: str) -> bool:
    """Return whether a word names a file of rows; one of arrays for each input is one sample."""
    return Path(word).suffix.lower() in FILES and Path(word).suffix.lower() != ".npz" and Path(word).is_file()


def _may_be_path(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # a long text is not a possible file name
        return False


def notes(task: Task, given: Sample | None) -> tuple[str, ...]:
    """Return, in words, that the model does not see all of a sample's text; empty where it does."""
    cut, limit = (0, None) if given is None else count_cut(task, [given])
    return (f"the text was cut at {limit} tokens: the model does not see the rest",) if cut else ()


def _text(word: str) -> str:
    """Return the text, read from stdin for `-`. Raises UsageError for the name of a file, which the model would take
    for a text.
    """
    if word == "-":
        text = sys.stdin.read().strip()
        if not text:
            raise UsageError("stdin has no text.", hint="echo 'a text' | edgekit run BUNDLE -")
        return _utf8(text)
    with contextlib.suppress(OSError, ValueError):  # a long text is not a possible file name
        if Path(word).is_file():
            raise UsageError(
                f"'{word}' is a file, and this model takes text.",
                hint=f"to use the text in it: edgekit run BUNDLE - < {word}"
                if _is_plain_text(Path(word))
                else "give a text in quotes; samples of a file are read by edgekit verify BUNDLE --data FILE",
            )
    return _utf8(word)


def _is_plain_text(path: Path) -> bool:
    """Return whether a file is one text, not a table or another form of data."""
    if path.suffix.lower() in (*FILES, ".json", ".xlsx", ".xls", ".arrow"):
        return False
    try:
        with path.open("rb") as file:
            file.read(PEEK).decode()
    except UnicodeDecodeError as error:
        return error.start > PEEK - 4  # a character may be cut in two
    except OSError:
        return False
    return True


def _utf8(text: str) -> str:
    """Return `text`. Raises UsageError where it was not UTF-8: Python keeps such bytes as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("the text is not UTF-8.", hint="convert it: iconv -f LATIN1 -t UTF-8") from error
    return text


def _row(text: str, columns: Sequence[str]) -> dict[str, Any]:
    """Return the row that is written as a JSON object, or as the cells of `columns` with commas between.

    Raises UsageError for any other text.
    """
    try:
        row = json.loads(text)
    except ValueError:
        row = None
    cells = [cell.strip() for cell in text.split(",")]
    if not isinstance(row, dict) and len(cells) == len(columns):
        with contextlib.suppress(ValueError):
            return {name: float(cell) if cell else None for name, cell in zip(columns, cells, strict=True)}
    if not isinstance(row, dict):
        raise UsageError(
            f"cannot read the row '{text}'.", hint="""write it as JSON, for example '{"age": 41, "limit": 20000}'"""
        )
    return row
