"""The options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from edgekit.cli.group import Option
from edgekit.errors import UsageError
from edgekit.project import Objective
from edgekit.result.measurement import Scenario

F = TypeVar("F", bound=Callable[..., Any])

_MODEL = "Model"
_TARGET = "Target"
_DATA = "Data"
_BUDGET = "Budget"
_BUILD = "Build"
_BENCH = "Benchmark"
_SCENARIO = "Scenario"
_GENERATION = "Generation"


def _stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def _option(*names: str, group: str, unset: str | None = None, **kwargs: Any) -> Callable[[F], F]:
    return click.option(*names, cls=Option, group=group, unset=unset, **kwargs)


def number_or_word(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """Return the value of an option that takes a number or a word."""
    return int(value) if value is not None and value.lstrip("-").isdigit() else value


def model_options(function: F) -> F:
    """Add the options that name the model and allow or forbid what happens when it is loaded."""
    return _stack(
        click.argument("model_argument", metavar="[MODEL]", required=False),
        _option("-m", "--model", metavar="REF", group=_MODEL, unset="the project file's",
                help="The model: a Hugging Face folder, hf:org/name, model.onnx, package.module:factory, or an "
                     "embedded name such as digits."),
        _option("--task", metavar="TASK", group=_MODEL, unset="inferred from the model",
                help="The model's task, for example text-classification or image-classification."),
        _option("--output-name", metavar="NAME", group=_MODEL, unset="the only one that can",
                help="The output that holds the answer, such as a classifier's scores."),
        _option("--processor", metavar="PATH", group=_MODEL, unset="the model's own files",
                help="A folder or file with the tokenizer, the image processor or the feature extractor, or a "
                ".toml that describes a detector or how sounds are prepared."),
        _option("--input", metavar="SPEC", multiple=True, group=_MODEL, unset="read from the model",
                help="An input of a plain module, as name:dtype[dims], for example x:f32[1,3,32,32]. Repeatable."),
        _option("--state", metavar="INPUT=OUTPUT", multiple=True, group=_MODEL, unset="found by name and shape",
                help="An output of an ONNX file that is this input of the next call: its first value is zeros, with "
                "INPUT=OUTPUT:empty no elements; `none` takes no output so. Repeatable."),
        _option("--revision", metavar="REV", group=_MODEL, unset="main",
                help="The branch, tag or commit of a model on the hub."),
        _option("--offline", is_flag=True, group=_MODEL, unset="off",
                help="Use the hub's local cache only; never the network."),
        _option("--trust-remote-code", is_flag=True, group=_MODEL, unset="off",
                help="Let the checkpoint run its own Python code. The bundle records it."),
        _option("--allow-pickle", is_flag=True, group=_MODEL, unset="off",
                help="Load pickled weights and estimators, which can run any code. The bundle records it."),
    )(function)  # fmt: skip


def target_options(function: F) -> F:
    """Add the options for the target and the project file."""
    return _stack(
        _option("-t", "--target", metavar="NAME", group=_TARGET, unset="host, or the project file's",
                help="The device to build for: a name from `edgekit targets`, or the path of a .toml file."),
        _option("--shape", metavar="NAME=SIZE", multiple=True, group=_TARGET, unset="the target's and the task's",
                help="Fix the free size NAME, or free it with NAME=dynamic. Repeatable."),
        _option("--project", metavar="FILE", type=click.Path(path_type=Path), group=_TARGET,
                unset="./edgekit.toml, or [tool.edgekit] in ./pyproject.toml, where there is one",
                help="The project file; options on the command line override it."),
    )(function)  # fmt: skip


def data_options(function: F) -> F:
    """Add the options for the evaluation samples."""
    return _stack(
        _option("--data", metavar="REF", group=_DATA, unset="an embedded model's own data; none otherwise",
                help="Samples to evaluate: a folder of images or sounds, boxes as COCO, YOLO or VOC, csv, tsv, jsonl, "
                     "parquet, npz, a datasets folder, or package.module:function."),
        _option("--split", metavar="NAME", group=_DATA, unset="the evaluation split where there is one",
                help="The split of the data to evaluate on."),
        _option("--text-column", metavar="NAME", multiple=True, group=_DATA, unset="chosen by content",
                help="A column with text; twice for a pair. Repeatable."),
        _option("--label-column", metavar="NAME", group=_DATA, unset="chosen by name",
                help="The column with the label."),
        _option("--max-samples", metavar="N", type=click.IntRange(min=1), group=_DATA, unset="2000",
                help="Evaluate on at most N samples, drawn with the seed."),
    )(function)  # fmt: skip


def calibration_options(function: F) -> F:
    """Add the options for calibration, training and the metric."""
    return _stack(
        _option("--calibration-data", metavar="REF", group=_DATA, unset="samples of --data that are not evaluated",
                help="Samples to calibrate int8 on."),
        _option("--calibration-samples", metavar="N", type=click.IntRange(min=1), group=_DATA, unset="300",
                help="Calibrate on N samples."),
        _option("--train", metavar="REF", group=_DATA, unset="none",
                help="Training samples, for recipes that train (to recover from pruning, or to round better)."),
        _option("--prune", metavar="RATIO", type=click.FloatRange(0, 1, min_open=True, max_open=True), group=_DATA,
                unset="nothing is pruned",
                help="Try each recipe without this share of the multiply-adds too, recovered on --train."),
        _option("--metric", metavar="NAME", group=_DATA, unset="the task's own",
                help="The metric on labelled samples: accuracy, f1, f1-macro, auc, average-precision, log-loss, ece; "
                "of numbers spearman, pearson, r2, mae, rmse; of texts chrf, bleu, rouge, wer, cer, exact-match; or a "
                "function of your own, package.module:function, called with "
                "all outputs, or all texts, and all labels."),
        _option("--labels", metavar="A,B,C", group=_DATA, unset="the model's own names, or the data's in sorted order",
                help="The names of the model's classes, in the order of its output."),
        _option("--positive-class", metavar="NAME", group=_DATA, unset="the second class",
                help="Of two classes, the one that AUC and F1 are of."),
        _option("--seed", metavar="N", type=int, group=_DATA, unset="0", help="Seed of every draw of samples."),
    )(function)  # fmt: skip


class _Drop(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs alone
    """A loss of a metric: `1%`, `0.01` or `1pt`."""

    name = "drop"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return a plain number as a float, and another form as it is. Fails for what is neither."""
        from edgekit._share import FORMS, share

        text = str(value).strip()
        try:
            number = float(text)
        except ValueError:
            try:
                share(text)
            except UsageError:
                self.fail(f"'{text}' is not a loss: write {FORMS}.", param, ctx)
            return text
        if number < 0:
            self.fail(f"{number} is not in the range x>=0.", param, ctx)
        return number


def drop_option(function: F) -> F:
    """Add `--max-drop`."""
    words = "The loss of the metric that is allowed, absolute: 1%, 0.01 or 1pt is one point."
    return _option("--max-drop", metavar="X", type=_Drop(), group=_BUDGET, unset="1%, one point", help=words)(function)


def quality_options(function: F) -> F:
    """Add the options of the accuracy gate."""
    return _stack(
        drop_option,
        _option("--min-agreement", metavar="X", type=click.FloatRange(0, 1), group=_BUDGET,
                unset="decided by the task",
                help="Without labels: the share of samples on which the answer must be the original's."),
    )(function)  # fmt: skip


def budget_options(function: F) -> F:
    """Add the budgets on time, size and memory, and the objective."""
    return _stack(
        _option("--max-latency-ms", metavar="MS", type=click.FloatRange(min=0, min_open=True), group=_BUDGET,
                unset="the target's, or none", help="The p50 latency that may not be exceeded."),
        _option("--max-size-mb", metavar="MB", type=click.FloatRange(min=0, min_open=True), group=_BUDGET,
                unset="the target's, or none", help="The size of the bundle's payload that may not be exceeded."),
        _option("--max-memory-mb", metavar="MB", type=click.FloatRange(min=0, min_open=True), group=_BUDGET,
                unset="the target's, or none",
                help="The peak memory that may not be exceeded, the interpreter and the runtime included."),
        _option("--objective", metavar="NAME", type=click.Choice(get_args(Objective)), group=_BUDGET, unset="latency",
                help="What the candidates that pass are ranked by: latency, throughput (samples per second, in batches "
                     "where the graph takes them), size or memory."),
    )(function)  # fmt: skip


def build_options(function: F) -> F:
    """Add the options that select candidates, and those for building and measuring them."""
    return _stack(
        _option("--recipe", metavar="NAME", group=_BUILD, unset="every recipe of the target",
                help="Build this recipe only: a name from `edgekit recipes`, or the path of a .toml file."),
        _option("--backend", metavar="NAME", multiple=True, group=_BUILD,
                unset="every installed one that the target names",
                help="Use this backend. Repeatable."),
        _option("--candidate", metavar="BACKEND/RECIPE", multiple=True, group=_BUILD, unset="the target's",
                help="Try exactly this candidate. Repeatable."),
        _option("--opset", metavar="N", type=click.IntRange(17, 22), group=_BUILD, unset="decided by the exporter",
                help="The ONNX operator set to export to."),
        _option("--repair/--no-repair", default=True, group=_BUILD, unset="--repair",
                help="Repair a quantized candidate that misses the gate by leaving its costliest layers in float."),
        _option("--budget", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), group=_BUILD,
                unset="no limit",
                help="The most time for all repairs together; what was found until then counts."),
        _option("--mixed/--no-mixed", default=True, group=_BUILD, unset="--mixed",
                help="Measure each layer in float and in int8, and try candidates that keep in float the layers that "
                     "int8 does not make faster."),
        _option("--qat", is_flag=True, group=_BUILD, unset="off",
                help="Where no int8 candidate passes the gate, not even after repair: fine-tune under int8's rounding, "
                     "on the samples of --train."),
        _option("--search", metavar="N", type=click.IntRange(min=1), group=_BUILD, unset="none",
                help="Try N combinations of recipe, range method, samples and layers in float (and pruning, with "
                     "--train) besides the target's candidates; the best are candidates too. A search that was "
                     "stopped continues."),
        _option("--bench/--no-bench", default=True, group=_BENCH, unset="--bench",
                help="Measure the candidates, or ship the most faithful of those expected to be fastest."),
        _option("--bench-seconds", metavar="S", type=click.FloatRange(min=0, min_open=True), group=_BENCH, unset="2.0",
                help="The least time to measure each candidate for."),
        _option("--tune/--no-tune", default=True, group=_BENCH, unset="--tune",
                help="Try other runtime options (threads, spinning, hints) on the shipped candidate, and use those "
                     "that are faster."),
    )(function)  # fmt: skip


WORKLOAD = ("scenario", "rate", "deadline_ms", "minutes", "streams", "batch", "prompt_tokens", "new_tokens")
"""The parameters that make an `edgekit.bench.Workload`."""


def scenario_options(function: F) -> F:
    """Add the options for the arrival of inferences, and for what else is measured."""
    return _stack(
        _option("--scenario", metavar="NAME", type=click.Choice(get_args(Scenario)), default="single-stream",
                group=_SCENARIO, unset="single-stream",
                help="How inferences arrive: single-stream, offline, fixed-rate or sustained."),
        _option("--rate", metavar="N", type=float, group=_SCENARIO, unset="none; fixed-rate needs it",
                help="fixed-rate: arrivals a second."),
        _option("--deadline-ms", metavar="MS", type=float, group=_SCENARIO, unset="the time to the next arrival",
                help="fixed-rate: the time from arrival to answer above which an answer is missed."),
        _option("--minutes", metavar="M", type=float, group=_SCENARIO, unset="10",
                help="sustained: how long each bundle runs."),
        _option("--streams", metavar="N", type=int, group=_SCENARIO, unset="1",
                help="offline: inferences at the same time."),
        _option("--batch", metavar="N", type=int, group=_SCENARIO, unset="8 where the graph leaves it free, else 1",
                help="offline: samples in one inference."),
        _option("--prompt-tokens", metavar="N", type=int, group=_SCENARIO, unset="those of the stored sample",
                help="Text generation: the length of the prompt, the stored sample's tokens repeated."),
        _option("--new-tokens", metavar="N", type=int, group=_SCENARIO, unset="those of the stored sample",
                help="Text generation: how many tokens follow it."),
        _option("--end-to-end", metavar="INPUT", multiple=True, group=_SCENARIO, unset="off",
                help="Also time the way from INPUT (an image file, a text, a row as JSON) to the answer. Twice for a "
                     "pair of texts."),
        _option("--sensors/--no-sensors", default=True, group=_SCENARIO, unset="--sensors",
                help="Read temperature, clocks, power and memory during the run."),
    )(function)  # fmt: skip


def output_options(function: F) -> F:
    """Add the options of every job: JSON, verbosity, and the cache's folder."""
    return _stack(
        _option("--cache-dir", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), group="Output",
                unset="$EDGEKIT_CACHE_DIR, or edgekit in the user's cache directory",
                help="Where built steps are kept."),
        json_option,
        _option("-v", "--verbose", is_flag=True, group="Output", unset="off",
                help="Show the steps' details and the frameworks' own messages."),
        _option("-q", "--quiet", is_flag=True, group="Output", unset="off", help="Show no progress."),
    )(function)  # fmt: skip


def device_options(function: F) -> F:
    """Add the options for a bundle on a device."""
    return _stack(
        _option("--device", metavar="ADDRESS", group="Device", unset="this machine",
                help="Run this on a device that has edgekit, ssh://[user@]host[:port]; BUNDLE is a path from its home "
                     "folder."),
        _option("--python", metavar="PATH", default="", group="Device", unset="the first there that has edgekit",
                help="The Python to use on the device."),
    )(function)  # fmt: skip


def report_option(function: F) -> F:
    """Add the option for files that the report is written to."""
    return _option("--report", "report_files", metavar="FILE", multiple=True, type=click.Path(path_type=Path),
                   group="Output", unset="none",
                   help="Write the report to FILE too, in the format of its suffix: .html, .md, .txt or .json. "
                        "Repeatable.")(function)  # fmt: skip


def generation_options(function: F) -> F:
    """Add the settings of generated text, in place of the model's own."""
    return _stack(
        _option("--chat", is_flag=True, group=_GENERATION, unset="off",
                help="Give INPUT as a user's message, by the model's chat template."),
        _option("--max-new-tokens", type=int, metavar="N", group=_GENERATION, unset="the model's own",
                help="The most tokens to generate."),
        _option("--beams", type=int, metavar="N", group=_GENERATION, unset="the model's own",
                help="The number of texts that beam search keeps; 1 is greedy search."),
        _option("--temperature", type=float, metavar="X", group=_GENERATION, unset="the model's own",
                help="Draw tokens, the likelier the lower it is; 0 takes the best one each time."),
        _option("--top-k", type=int, metavar="N", group=_GENERATION, unset="the model's own",
                help="Draw from the N best tokens alone."),
        _option("--top-p", type=float, metavar="X", group=_GENERATION, unset="the model's own",
                help="Draw from the best tokens of this share of the probability alone."),
        _option("--seed", type=int, default=0, metavar="N", group=_GENERATION, unset="0",
                help="Which text is drawn: the same seed gives the same text."),
    )(function)  # fmt: skip


def json_option(function: F) -> F:
    """Add `--json`."""
    return _option("--json", "as_json", is_flag=True, group="Output", unset="off",
                   help="Print the result as JSON on stdout.")(function)  # fmt: skip
