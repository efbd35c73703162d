"""The verb that runs a bundle.

It imports only what a device has: edgekit, one plugin, numpy, and Pillow or tokenizers for the input.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from edgekit._text import visible
from edgekit.cli import options
from edgekit.cli.group import Option, verb

if TYPE_CHECKING:
    import numpy as np

    from edgekit.bundle.bundle import Bundle
    from edgekit.bundle.predictor import Generated, Predictor
    from edgekit.data import Sample
    from edgekit.errors import EdgekitError
    from edgekit.runner import Runner
    from edgekit.tasks import Task
    from edgekit.tasks.task import Generating


WARMUPS = 2
TIMED = 5


@verb(
    "run",
    "Run a bundle on images, texts or arrays.",
    description=(
        "INPUT is an image file, a sound file, a text (- reads it from stdin), two texts for a pair, or an .npz file "
        "with an array for each input of the graph; a row of a table is a JSON object. The bundle's own preprocessing "
        "is used, and the answer is the task's: a label with its score and the next best ones, an embedding, a "
        "similarity, a text.",
        "Several images, a folder of them, or a table (csv, tsv, jsonl, parquet) are answered one by one, as JSON "
        "lines: an input that cannot be read costs its own line, and the command ends with 2.",
        f"The printed time is of the model alone: the median of {TIMED} inferences after {WARMUPS} to warm up. "
        "`edgekit bench` measures it properly.",
    ),
    examples=(
        ("edgekit run out/digits seven.png", "An image:"),
        ("edgekit run out/speech clip.wav", "A sound:"),
        ('edgekit run out/sentiment "What a lovely film."', "A text:"),
        ('edgekit run out/stories "Once upon a time" --max-new-tokens 80', "A text that the model continues:"),
        ('edgekit run out/sentences "A man plays." "Someone makes music." --json', "The similarity of two texts:"),
        ("echo 'What a lovely film.' | edgekit run out/sentiment -", "A text from stdin:"),
        ("edgekit run out/digits scans --output answers.jsonl", "A folder of images:"),
        ("edgekit run out/detector street.jpg --output drawn.png", "A picture with the answer drawn into it:"),
        ("edgekit run out/net feeds.npz", "Arrays:"),
    ),
    exits=(0, 1, 2, 3, 7, 8),
)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@options.generation_options
@click.option("--output", cls=Option, group="Output", type=click.Path(path_type=Path), metavar="FILE|DIR",
              unset="stdout", help="A file for the answers as JSON lines; a picture (.png, .jpg) or a folder for "
              "answers that are drawn, as boxes and masks.")  # fmt: skip
@options.json_option
def run(bundle: Path, inputs: tuple[str, ...], as_json: bool, output: Path | None, seed: int, **settings: Any) -> None:
    from edgekit.cli import output as printed

    with printed.job({}) as work:
        from edgekit.bundle.bundle import open as open_bundle
        from edgekit.tasks import user_input
        from edgekit.tasks.generating import Asked, asked

        opened = open_bundle(bundle)
        with opened.predictor() as predictor:
            task = asked(predictor.task, Asked(**settings))
            many = None if _is_arrays(inputs) else user_input.items(task, inputs)
            if many is not None or output is not None:
                from edgekit.cli import run_items

                items = many if many is not None else [(inputs[0], lambda: user_input.sample(task, inputs))]
                run_items.answer(predictor, task, items, output, work.result, work.progress, seed)
                return
            answer = _Answer(opened, predictor, task, inputs, seed, None if as_json else work.result)
            precision, fault = _precision(predictor.runner)
    if as_json:
        printed.emit_json({**answer.facts, "precision": precision, "notes": list(answer.notes)})
        return
    if not answer.streamed:
        printed.emit("\n".join(_lines(answer.facts["answer"])))
    for note in answer.notes:
        printed.emit(f"note: {note}")
    printed.emit("\n" + answer.times() + (f" in {precision}" if precision else ""))
    if fault is not None:
        printed.message(f"warning: the precision is unknown: {fault.message}")


class _Answer:
    """The answer to one input, and the time that it took."""

    def __init__(
        self,
        bundle: Bundle,
        predictor: Predictor,
        task: Task,
        inputs: tuple[str, ...],
        seed: int,
        shown: IO[str] | None,
    ) -> None:
        from edgekit.data import Sample
        from edgekit.errors import UsageError
        from edgekit.spec import MODEL
        from edgekit.tasks import drive, user_input
        from edgekit.tasks.task import Generating, Inference

        runner = predictor.runner
        self.generated: Generated | None = None
        self.streamed = False
        sample = None if _is_arrays(inputs) else user_input.sample(task, inputs)
        if sample is None and task.config.calls is not None:
            sample = Sample(_arrays(Path(inputs[0])))
        self.notes = user_input.notes(task, sample)
        if sample is not None and isinstance(task, Generating):
            self.streamed = shown is not None and task.continues
            self.facts = self._generate(predictor, task, sample, seed, shown if self.streamed else None)
            return
        if sample is None:
            if not bundle.program.is_single:
                raise UsageError(
                    f"the bundle '{bundle.path}' has several graphs or states, and arrays are one call's.",
                    hint="give what its task takes, such as a text",
                )
            feeds = _arrays(Path(inputs[0]))
            inferences = [Inference(MODEL, feeds, runner.run(MODEL, feeds))]
        else:
            inferences = drive(task, sample, runner.start())
        answer = task.answer([inference.outputs for inference in inferences], sample)
        model_ms = _time_ms(runner.bind([inference.call for inference in inferences]))
        self.facts = {"answer": answer, "model_ms": model_ms}

    def _generate(
        self, predictor: Predictor, task: Generating, sample: Sample, seed: int, shown: IO[str] | None
    ) -> dict[str, Any]:
        from edgekit.bundle.predictor import Generated, timed
        from edgekit.tasks.generating import pieces

        self.generated = record = Generated()
        ids: list[int] = []

        def kept() -> Iterator[int]:
            stream = task.stream(sample, predictor.runner, seed=seed)
            for token in timed(stream, record, at_once=task.generation.beams > 1):
                ids.append(token)
                yield token

        for piece in pieces(kept(), task.text):
            if shown is not None:
                shown.write(visible(piece))
                shown.flush()
        if shown is not None:
            shown.write("\n")
        facts = {"tokens": record.tokens, "first_token_ms": record.first_ms, "tokens_per_s": record.tokens_per_s}
        return {"answer": task.generated(ids), "model_ms": record.total_ms, **facts}

    def times(self) -> str:
        """Return the time in words."""
        from edgekit.report import figures

        if self.generated is None:
            return f"model only: {figures.ms(self.facts['model_ms'])}"
        record = self.generated
        words = f"generating: {record.tokens} tokens in {figures.ms(record.total_ms)}"
        if record.tokens_per_s is not None:
            first = "" if record.first_ms is None else f"the first after {figures.ms(record.first_ms)}, then "
            words += f" ({first}{record.tokens_per_s:.1f} a second)"
        return words


def _precision(runner: Runner) -> tuple[str | None, EdgekitError | None]:
    """Return the precision that ran, or why this machine cannot tell: the answer is right without it."""
    from edgekit.errors import DeviceError

    try:
        return runner.precision.main, None
    except DeviceError as error:
        return None, error


def _is_arrays(inputs: Sequence[str]) -> bool:
    return len(inputs) == 1 and inputs[0].endswith(".npz")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    from edgekit._reading import read_arrays
    from edgekit.errors import UsageError

    if not path.exists():
        raise UsageError(
            f"the file '{path}' does not exist.",
            hint="give the path of an .npz file with an array for each input of the graph",
        )
    return read_arrays(path, "the file of arrays", hint="write it with numpy.savez")


def _time_ms(call: Callable[[], Any]) -> float:
    """Return the median time of a few runs of a bound call, after a few to warm up."""
    for _ in range(WARMUPS):
        call()
    times = []
    for _ in range(TIMED):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[TIMED // 2] / 1e6


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """Return an answer as lines for a person: one for each fact, a table for a list of facts."""
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
