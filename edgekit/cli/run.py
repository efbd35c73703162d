"""The verb that asks a bundle.

What it imports is what a device has: edgekit, one plugin, numpy, and Pillow or tokenizers for the input.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.group import verb

if TYPE_CHECKING:
    import numpy as np

    from edgekit.artifact import Bundle
    from edgekit.data import Sample
    from edgekit.plugin import Session
    from edgekit.tasks import Task

WARMUPS = 2
TIMED = 5


@verb(
    "run",
    "Give a bundle's answer for an image, a text or arrays.",
    description=(
        "INPUT is an image file, a text (- reads it from stdin), two texts for a pair, or an .npz file with an "
        "array for each input of the "
        "graph; a row of a table is a JSON object. The bundle's own preprocessing is used, and the answer is "
        "the task's: a label with its score "
        "and the next ones, an "
        "embedding, a similarity.",
        f"The time printed is of the model alone: the median of {TIMED} inferences after {WARMUPS} to warm up. "
        "`edgekit bench` measures.",
    ),
    examples=(
        ("edgekit run out/digits seven.png", "An image:"),
        ('edgekit run out/sentiment "What a lovely film."', "A text:"),
        ('edgekit run out/sentences "A man plays." "Someone makes music." --json', "How alike two texts are:"),
        ("echo 'What a lovely film.' | edgekit run out/sentiment -", "A text from stdin:"),
        ("edgekit run out/net feeds.npz", "Arrays:"),
    ),
    exits=(0, 1, 2, 3, 7, 8),
)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT [INPUT]", nargs=-1, required=True)
@options.json_option
def run(bundle: Path, inputs: tuple[str, ...], as_json: bool) -> None:
    from edgekit.cli import output

    with output.job({}):
        from edgekit import artifact

        opened = artifact.open(bundle)
        task = _task(opened)
        sample = None if _is_arrays(inputs) else _sample(task, inputs)
        feeds = [_arrays(Path(inputs[0]))] if sample is None else task.feeds(sample)
        with opened.session() as session:
            outputs = [session.run(each) for each in feeds]
            model_ms = sum(_time_ms(session, each) for each in feeds)
            precision = session.precision.main
    answer = task.answer(outputs, sample)
    if as_json:
        output.emit_json({"answer": answer, "model_ms": model_ms, "precision": precision})
        return
    from edgekit.report import figures

    output.emit("\n".join(_lines(answer)))
    output.emit(f"\nmodel only: {figures.ms(model_ms)} in {precision}")


def _task(bundle: Bundle) -> Task:
    """Give the bundle's task without the column names of the data it was exported with: texts come by position here."""
    from dataclasses import replace

    from edgekit import tasks

    task = bundle.task()
    if task.config.text is None or not task.config.text.columns:
        return task
    config = replace(task.config, text=replace(task.config.text, columns=()))
    return tasks.load(config, bundle.path / "assets", bundle.manifest.inputs)


def _is_arrays(inputs: Sequence[str]) -> bool:
    return len(inputs) == 1 and inputs[0].endswith(".npz")


def _sample(task: Task, inputs: Sequence[str]) -> Sample:
    """Give the sample that the inputs stand for; which one they can be is the task's matter."""
    from edgekit.data import Sample
    from edgekit.errors import UsageError

    config = task.config
    if config.image is not None:
        if len(inputs) != 1:
            raise UsageError(f"the task '{config.task}' takes one image, {len(inputs)} inputs are given.")
        path = Path(inputs[0])
        if not path.is_file():
            raise UsageError(
                f"there is no image file '{path}'.", hint="give the path of a picture, or an .npz file of arrays"
            )
        return Sample({"image": path})
    if config.text is not None:
        if len(inputs) > 2:
            raise UsageError(
                f"the task '{config.task}' takes a text or a pair of texts, {len(inputs)} are given.",
                hint="put each text in quotes",
            )
        texts = [_text(text) for text in inputs]
        names = ("text", "text_pair")[: len(texts)]
        return Sample(dict(zip(names, texts, strict=True)), None, names)
    if (config.tabular is not None or config.task == "tabular-classification") and len(inputs) == 1:
        return Sample(_row(inputs[0]))
    missing = config.facts.get("image") or config.facts.get("text")
    raise UsageError(
        f"the bundle of the task '{config.task}' reads arrays{f': {missing}' if missing else ''}.",
        hint="give an .npz file with an array for each input of the graph",
    )


def _text(given: str) -> str:
    """Give a text; a file's name in its place would be answered as if it were one."""
    from edgekit.errors import UsageError

    if given == "-":
        found = sys.stdin.read().strip()
        if not found:
            raise UsageError("there is no text on stdin.", hint="echo 'a text' | edgekit run BUNDLE -")
        return _utf8(found)
    with contextlib.suppress(OSError, ValueError):  # a long text is no file name
        if Path(given).is_file():
            raise UsageError(
                f"'{given}' is a file, and this model takes text.",
                hint=f"to ask about what it holds: edgekit run BUNDLE - < {given}",
            )
    return _utf8(given)


def _utf8(text: str) -> str:
    """Give the text back. Raises UsageError for bytes that are none, which Python carries as lone surrogates."""
    from edgekit.errors import UsageError

    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("the text is not UTF-8.", hint="convert it: iconv -f LATIN1 -t UTF-8") from error
    return text


def _row(text: str) -> dict[str, Any]:
    """Read one row of a table, written as a JSON object."""
    import json

    from edgekit.errors import UsageError

    try:
        row = json.loads(text)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise UsageError(
            f"cannot read the row '{text}'.", hint="""write it as JSON, for example '{"age": 41, "limit": 20000}'"""
        )
    return row


def _arrays(path: Path) -> dict[str, np.ndarray]:
    import zipfile

    import numpy as np

    from edgekit.errors import UsageError

    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise ValueError("a single array")
        with found as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UsageError(f"there is no file '{path}'.") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = "it is no npz archive, or holds Python objects" if isinstance(error, ValueError) else str(error)
        raise UsageError(f"cannot read the arrays of '{path}': {reason}.", hint="write it with numpy.savez") from error


def _time_ms(session: Session, feeds: Mapping[str, np.ndarray]) -> float:
    """Time the bound call: the median of a few, on a model that has run before."""
    call = session.bind(feeds)
    for _ in range(WARMUPS):
        call()
    times = []
    for _ in range(TIMED):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[TIMED // 2] / 1e6


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """Write an answer for a person: one line a fact, a table for a list of facts."""
    width = max((len(name) for name in answer), default=0)
    lines = []
    for name, value in answer.items():
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            lines.append(name)
            lines += ["  " + "  ".join(_short(part) for part in item.values()) for item in value]
        elif isinstance(value, Mapping):
            lines.append(name)
            lines += [f"  {part}: {_short(item)}" for part, item in value.items()]
        else:
            lines.append(f"{name.ljust(width)}  {_short(value)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_short(item) for item in value[:6])
        return f"[{shown}, ...] ({len(value)} values)" if len(value) > 6 else f"[{shown}]"
    return str(value)
