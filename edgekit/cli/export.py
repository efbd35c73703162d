"""The main verb: export a model for a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import command_line, options
from edgekit.cli.group import Option, verb
from edgekit.cli.report_output import check_files, show, write_files

if TYPE_CHECKING:
    from edgekit.pipeline.plan import Plan

DESCRIPTION = (
    "Loads the model, exports it to a graph, and builds every candidate of the target: a runtime and a recipe of "
    "passes, such as onnxruntime/int8-static. Each candidate's outputs are compared with the original model's in its "
    "own framework, and where the data has labels the task's metric is computed for both. Candidates that lose more "
    "than --max-drop are rejected. The others are measured interleaved on this machine, and the fastest that keeps "
    "the budgets (or the best by --objective) becomes a bundle: a folder that runs with edgekit, one plugin and its "
    "runtime. Its runtime options are tuned.",
    "The report lists every candidate with its latency, size and quality, and why it was not chosen. When no "
    "candidate passes, the report is written next to the output and the exit code is 5 or 6.",
    "MODEL is a Hugging Face folder, hf:org/name, a .onnx file, package.module:factory (a function that returns an "
    "nn.Module), or the name of an embedded model (digits). Values that are not given come from edgekit.toml; options "
    "override it.",
)

EXAMPLES = (
    ("edgekit export digits --target host --output out/digits", "The embedded example, with its own data:"),
    (
        "edgekit export ./my-checkpoint --data ./val --max-drop 0.005 -o out/mine",
        "A checkpoint, evaluated on an image folder, losing at most half a point:",
    ),
    (
        "edgekit export hf:org/sentence-model --data sts.tsv --text-column a --text-column b --label-column "
        "score -o out/st",
        "A sentence model, evaluated on pairs of texts:",
    ),
    (
        "edgekit export ./my-checkpoint --data ./val --objective size --max-latency-ms 5 -o out/small",
        "The smallest within 5 ms:",
    ),
    ("edgekit export ./my-checkpoint --data ./val --device ssh://pi@kitchen", "For the board at that address:"),
    ("edgekit export model.onnx --shape batch=1 --recipe fp32 -o out/net", "An ONNX file as it is:"),
    (
        "edgekit export --target jetson-orin-nano --dry-run > plan.toml",
        "Print the plan of the project in this folder; it can be run:",
    ),
    (
        "edgekit export --project plan.toml --report out/report.html",
        "Run the plan, and write an HTML report too:",
    ),
)


@verb(
    "export",
    "Export a model to the fastest artifact that its target can run within the budget.",
    description=DESCRIPTION,
    examples=EXAMPLES,
    exits=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
)
@options.model_options
@options.target_options
@click.option(
    "--device", cls=Option, metavar="ADDRESS", group="Target", unset="none",
    help="Build for this device, such as ssh://pi@kitchen: it is probed, and the target that fits it is used.",
)  # fmt: skip
@options.data_options
@options.calibration_options
@options.quality_options
@options.budget_options
@options.build_options
@click.option(
    "-o", "--output", cls=Option, metavar="DIR", group="Output", unset="decided by the model and target",
    help="The folder of the bundle.",
)  # fmt: skip
@click.option(
    "--samples", cls=Option, metavar="N|none|synthetic", group="Output", unset="4", callback=options.number_or_word,
    help="The evaluation samples that travel in the bundle, by which a device proves it: the first N, random inputs, "
    "or none. Choose synthetic or none for data on people.",
)  # fmt: skip
@click.option("--force", cls=Option, is_flag=True, group="Output", unset="off", help="Replace the bundle at --output.")
@click.option(
    "--dry-run", cls=Option, is_flag=True, group="Output", unset="off",
    help="Print the plan as a project file, and stop. It can be run with --project.",
)  # fmt: skip
@options.report_option
@options.output_options
@click.pass_context
def export(ctx: click.Context, /, **given: Any) -> None:
    from edgekit.cli import output
    from edgekit.project import load

    project = load(given["project"], command_line.overrides(ctx))
    if given["device"]:
        project = replace(project, target=_target_of(given["device"], command_line.typed(ctx).get("target")))
    if given["dry_run"]:
        return _dry_run(project, given)
    check_files(given["report_files"])
    from edgekit.errors import AccuracyFailure, PerformanceFailure

    try:
        with output.job(given) as work:
            from edgekit.pipeline.run import run

            result = run(project, force=given["force"], progress=work.progress)
    except (AccuracyFailure, PerformanceFailure) as failure:
        _show_failed(failure.context.get("report"), given)
        raise
    show(result.report, given, bundle=result.bundle.path)


def _target_of(address: str, wanted: str | None) -> str:
    """Return the target to build for a device, which is probed."""
    from edgekit import device
    from edgekit.cli import output
    from edgekit.device import facts

    with output.job({}) as work, device.connect(address) as transport, work.progress.step("probing the device"):
        name = facts.choose_target(address, facts.read(transport).host, wanted)
    output.message(f"the device {address} is '{name}'")
    return name


def _dry_run(project: Any, given: Any) -> None:
    from edgekit.cli import output
    from edgekit.pipeline import planning

    with output.job(given):
        plan: Plan = planning.plan(project)
    if given["as_json"]:
        output.emit_json(plan.to_dict())
    else:
        output.emit(plan.to_toml(anywhere=True).rstrip("\n"))


def _show_failed(path: object, given: Any) -> None:
    """Print the report of an export that failed its gate, as for a success; with `--json` it is part of the error."""
    from edgekit.cli import output
    from edgekit.report import text
    from edgekit.result.report import Report

    if not isinstance(path, (str, Path)) or not Path(path).is_file():
        return
    report = Report.load(Path(path))
    write_files(report, given["report_files"])
    if not given["as_json"]:
        output.emit(text.render(report, width=output.width(), colour=output.colour_wanted()) + "\n")
