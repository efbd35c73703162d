"""The main verb: export a model for a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import command_line, options
from edgekit.cli.group import Option, verb
from edgekit.cli.show import check_files, show, write_files

if TYPE_CHECKING:
    from edgekit.pipeline.plan import Plan

DESCRIPTION = (
    "Loads the model, exports it to a graph, and builds every candidate of the target: a runtime and a recipe "
    "of passes, such as "
    "onnxruntime/int8-static. Each candidate's outputs are held against the original model's in its own "
    "framework, and where the data "
    "has labels the task's metric is computed for both. Candidates that lose more than --max-drop are out. The "
    "others are measured "
    "interleaved on this machine, and the fastest that keeps the budgets (or the best by --objective) is packed "
    "into a bundle: a folder that runs with edgekit, one plugin and its runtime. Its runtime options are tuned.",
    "The report lists every candidate with its latency, size and quality, and why it lost. When no candidate "
    "passes, the report "
    "is written beside the output and the exit code is 5 or 6.",
    "MODEL is a Hugging Face folder, hf:org/name, a .onnx file, package.module:factory (a function that gives "
    "an nn.Module), or the name "
    "of an embedded model (digits). What is not given is taken from edgekit.toml; options override it.",
)

EXAMPLES = (
    ("edgekit export digits --target host --output out/digits", "The embedded example, with its own data:"),
    (
        "edgekit export ./my-checkpoint --data ./val --max-drop 0.005 -o out/mine",
        "A checkpoint, judged on an image folder, losing at most half a point:",
    ),
    (
        "edgekit export hf:org/sentence-model --data sts.tsv --text-column a --text-column b --label-column "
        "score -o out/st",
        "A sentence model, judged on pairs of texts:",
    ),
    (
        "edgekit export ./my-checkpoint --data ./val --objective size --max-latency-ms 5 -o out/small",
        "The smallest that answers within 5 ms:",
    ),
    ("edgekit export ./my-checkpoint --data ./val --device ssh://pi@kitchen", "For the board at that address:"),
    ("edgekit export model.onnx --shape batch=1 --recipe fp32 -o out/net", "An ONNX file as it is:"),
    (
        "edgekit export --target jetson-orin-nano --dry-run > plan.toml",
        "Print the plan of the project here; it can be run:",
    ),
    ("edgekit export --project plan.toml --report out/report.html", "Run it, and write the report as a page too:"),
)


@verb(
    "export",
    "Take a model to the fastest artifact its target can run within the budget.",
    description=DESCRIPTION,
    examples=EXAMPLES,
    exits=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
)
@options.model_options
@options.target_options
@click.option(
    "--device", cls=Option, metavar="ADDRESS", group="Target", unset="none",
    help="Build for this device, such as ssh://pi@kitchen: it is probed, and the target that fits it is taken.",
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
@click.option("--force", cls=Option, is_flag=True, group="Output", unset="off", help="Replace the bundle at --output.")
@click.option(
    "--dry-run", cls=Option, is_flag=True, group="Output", unset="off",
    help="Print the plan as a project file, and do nothing. It can be run with --project.",
)  # fmt: skip
@options.report_option
@options.output_options
@click.pass_context
def export(ctx: click.Context, /, **given: Any) -> None:
    from edgekit import project as projects
    from edgekit.cli import output

    project = projects.load(given["project"], command_line.overrides(ctx))
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
    """Probe a device, and give the target to build for it."""
    from edgekit import device
    from edgekit.cli import output
    from edgekit.device import facts

    with output.job({}) as work, device.connect(address) as transport, work.progress.step("looking at the device"):
        name = facts.choose_target(address, facts.read(transport).host, wanted)
    output.tell(f"the device {address} is '{name}'")
    return name


def _dry_run(project: Any, given: Any) -> None:
    from edgekit.cli import output
    from edgekit.pipeline.planning import plan as planned

    with output.job(given):
        plan: Plan = planned(project)
    if given["as_json"]:
        output.emit_json(plan.to_dict())
    else:
        output.emit(plan.to_toml(anywhere=True).rstrip("\n"))


def _show_failed(path: object, given: Any) -> None:
    """Print the report that a failed gate left, as for a success; with `--json` it follows inside the error."""
    from edgekit.cli import output
    from edgekit.report import text
    from edgekit.result.report import Report

    if not isinstance(path, (str, Path)) or not Path(path).is_file():
        return
    report = Report.load(Path(path))
    write_files(report, given["report_files"])
    if not given["as_json"]:
        output.emit(text.render(report, width=output.width(), colour=output.colour_wanted()) + "\n")
