"""The verb that runs a bundle.

It imports only what a device has: edgekit, one plugin, numpy, and Pillow or tokenizers for the input.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.group import verb

if TYPE_CHECKING:
    import numpy as np

    from edgekit.errors import EdgekitError
    from edgekit.runner import Runner


WARMUPS = 2
TIMED = 5


@verb(
    "run",
    "Run a bundle on an image, a text or arrays.",
    description=(
        "INPUT is an image file, a text (- reads it from stdin), two texts for a pair, or an .npz file with an array "
        "for each input of the graph; a row of a table is a JSON object. The bundle's own preprocessing is used, and "
        "the answer is the task's: a label with its score and the next best ones, an embedding, a similarity.",
        f"The printed time is of the model alone: the median of {TIMED} inferences after {WARMUPS} to warm up. "
        "`edgekit bench` measures it properly.",
    ),
    examples=(
        ("edgekit run out/digits seven.png", "An image:"),
        ('edgekit run out/sentiment "What a lovely film."', "A text:"),
        ('edgekit run out/sentences "A man plays." "Someone makes music." --json', "The similarity of two texts:"),
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
        from edgekit.bundle.bundle import open as open_bundle
        from edgekit.data import Sample
        from edgekit.errors import UsageError
        from edgekit.spec import MODEL
        from edgekit.tasks import drive, user_input
        from edgekit.tasks.task import Generating, Inference

        opened = open_bundle(bundle)
        task = user_input.by_position(opened.task(), opened.path / "assets", opened.program.inputs)
        sample = None if _is_arrays(inputs) else user_input.sample(task, inputs)
        if sample is None and task.config.calls is not None:
            sample = Sample(_arrays(Path(inputs[0])))
        if sample is None and len(opened.manifest.parts) > 1:
            raise UsageError(
                f"the bundle '{bundle}' has several graphs, and arrays are the inputs of one.",
                hint="give what its task takes, such as a text",
            )
        with opened.runner() as runner:
            if sample is None:
                feeds = _arrays(Path(inputs[0]))
                inferences = [Inference(MODEL, feeds, runner.run(MODEL, feeds))]
            elif not isinstance(task, Generating):
                inferences = drive(task, sample, runner.start())
            if sample is not None and isinstance(task, Generating):
                generate = functools.partial(task.generated, sample, runner)
                answer, model_ms = generate(), _time_ms(generate)
            else:
                answer = task.answer([inference.outputs for inference in inferences], sample)
                model_ms = _time_ms(runner.bind([inference.call for inference in inferences]))
            precision, fault = _precision(runner)
            notes = user_input.notes(task, sample)
    if as_json:
        output.emit_json({"answer": answer, "model_ms": model_ms, "precision": precision, "notes": list(notes)})
        return
    from edgekit.report import figures

    output.emit("\n".join(_lines(answer)))
    for note in notes:
        output.emit(f"note: {note}")
    timed = "generating" if isinstance(task, Generating) else "model only"
    output.emit(f"\n{timed}: {figures.ms(model_ms)}" + (f" in {precision}" if precision else ""))
    if fault is not None:
        output.message(f"warning: the precision is unknown: {fault.message}")


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
