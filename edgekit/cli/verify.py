"""The verbs that prove a finished bundle on the machine they run on: verify and bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import command_line, options
from edgekit.cli.group import Option, verb
from edgekit.cli.show import check_baseline, check_files, show, write_baseline

if TYPE_CHECKING:
    from edgekit.result.report import Report


@verb(
    "verify",
    "Hold a bundle's outputs against the original model's.",
    description=(
        "BUNDLE carries a few inputs with the original model's outputs on them; its own outputs on this "
        "machine are held against those. "
        "With --data it is also judged on labelled samples: the metric is compared with the original's score that the "
        "export wrote down, so give the data that the bundle was exported with.",
        "Neither needs torch or the original model. The first lines say whether it passed; the exit code is 5 "
        "when it did not.",
    ),
    examples=(
        ("edgekit verify out/digits", "Against the stored samples:"),
        ("edgekit verify out/mine --data ./val --max-drop 0.005", "And against labelled data:"),
    ),
    exits=(0, 1, 2, 3, 5, 7, 8),
)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@options.data_options
@click.option(
    "--max-drop", cls=Option, metavar="X", type=click.FloatRange(min=0), group="Budget", unset="0.01, one point",
    help="The loss of the metric that is allowed, absolute.",
)  # fmt: skip
@options.device_options
@options.report_option
@options.output_options
@click.pass_context
def verify(ctx: click.Context, /, bundle: Path, **given: Any) -> None:
    from edgekit.cli import output
    from edgekit.errors import UsageError

    check_files(given["report_files"])
    if given["data"] is None and (stray := sorted(set(command_line.typed(ctx)) & _OF_DATA)):
        raise UsageError(f"--{stray[0].replace('_', '-')} says how to judge data, but no --data is given.")
    if given["device"]:
        return _verdict(_elsewhere(ctx, (bundle,), given), bundle, given)
    with output.job(given) as work:
        from edgekit.bundle import verify as measure
        from edgekit.data import DataRef

        columns = {field: given[name] for name, field in _COLUMNS.items() if given[name]}
        ref = None if given["data"] is None else DataRef(given["data"], **columns)
        limits = {name: given[name] for name in ("max_drop", "max_samples") if given[name] is not None}
        report = measure.verify(bundle, data=ref, progress=work.progress, **limits)
    _verdict(report, bundle, given)


def _verdict(report: Report, bundle: Path, given: dict[str, Any]) -> None:
    """Show a verification, and raise AccuracyFailure where it failed."""
    from edgekit.bundle import verify as measure
    from edgekit.errors import AccuracyFailure

    if report.ok:
        show(report, given, folder=bundle)
        return
    if not given["as_json"]:
        show(report, given, folder=bundle)
    stored = [check for c in report.candidates if c.quality for check in c.quality.checks if not check.passed]
    broken = any(check.name == measure.STORED for check in stored)
    raise AccuracyFailure(
        f"the bundle '{bundle}' does not give what the original gives: {'; '.join(report.failures)}.",
        hint="copy or export the bundle again; if it still fails on this machine only, report the processor "
        "and `edgekit doctor --json`"
        if broken
        else "export it again with this budget, or allow more with --max-drop",
        report=report,
    )


def _elsewhere(ctx: click.Context, bundles: Sequence[Path], given: dict[str, Any]) -> Report:
    """Call the same verb with the same options on a device."""
    from edgekit.cli import output
    from edgekit.device import deploy

    paths = [str(path) for path in bundles]
    with output.job(given) as work:
        return deploy.run_on_device(
            given["device"], ctx.command.name or "", paths, command_line.passed_on(ctx), python=given["python"],
            progress=work.progress,
        )  # fmt: skip


_COLUMNS = {"split": "split", "text_column": "text_columns", "label_column": "label_column"}
_OF_DATA = {*_COLUMNS, "max_samples", "max_drop"}


@verb(
    "bench",
    "Measure the latency of one or more bundles on this machine.",
    description=(
        "Each BUNDLE is run in a process of its own, on its first stored input, warmed up until its times are "
        "steady. Several bundles "
        "take turns, so that a change of the machine's clock or load meets all of them. What is timed is one "
        "complete inference "
        "of a bound call: no preprocessing, no copying of feeds. --end-to-end times the whole way of a raw input "
        "beside it.",
        "Scenarios: single-stream, the next inference on completion of the last. offline, batches and parallel streams "
        "for throughput. fixed-rate, arrivals by schedule as from a camera, where latency counts from the arrival "
        "and late answers are missed deadlines. sustained, minutes in one piece, with latency, clocks and "
        "temperature over time, and whether the machine slowed down.",
        "Temperature, clocks, power and memory are read meanwhile where the machine tells them; energy is that of the "
        "rail named. What is not there is null, with the reason.",
        "Percentiles are given only where the number of inferences supports them. The report says when other "
        "processes used the "
        "processor: then measure again on a quiet machine.",
    ),
    examples=(
        ("edgekit bench out/digits", "One bundle:"),
        ("edgekit bench out/int8 out/fp32 --seconds 10", "Two in turn, at least ten seconds each:"),
        ("edgekit bench out/mine --profile", "With the time of each layer:"),
        ("edgekit bench bundles/mine --device ssh://pi@kitchen", "One that is on a device:"),
        ("edgekit bench out/mine --scenario fixed-rate --rate 30 --end-to-end photo.jpg", "For a camera:"),
        ("edgekit bench out/mine --scenario sustained --minutes 30", "For half an hour:"),
    ),
    exits=(0, 1, 2, 3, 4, 7, 8),
)
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--seconds", cls=Option, metavar="S", type=click.FloatRange(min=0, min_open=True), default=5.0, group="Benchmark",
    unset="5.0", help="The least time to measure each bundle for.",
)  # fmt: skip
@options.scenario_options
@click.option("--profile", cls=Option, is_flag=True, group="Benchmark", unset="off", help="Time each layer too.")
@click.option(
    "--save-baseline", cls=Option, metavar="FILE", type=click.Path(path_type=Path), unset="none",
    help="Write what `edgekit compare` needs of the only BUNDLE to FILE, a few kilobytes.",
)  # fmt: skip
@options.device_options
@options.report_option
@options.output_options
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    bundles: tuple[Path, ...],
    seconds: float,
    profile: bool,
    save_baseline: Path | None,
    **given: Any,
) -> None:
    from edgekit.cli import output
    from edgekit.errors import UsageError
    from edgekit.report.compare import sides

    check_files(given["report_files"])
    if save_baseline is not None:
        check_baseline(save_baseline)
        if len(bundles) > 1:
            raise UsageError(
                f"--save-baseline keeps one bundle, {len(bundles)} are given.", hint="measure them one by one"
            )
    if given["device"]:
        report = _elsewhere(ctx, bundles, given)
    else:
        with output.job(given) as work:
            from edgekit.bench import Load
            from edgekit.bundle import verify as measure

            report = measure.benchmark(
                bundles,
                seconds=seconds,
                profile=profile,
                load=Load(**{name: given[name] for name in options.LOAD}),
                end_to_end=given["end_to_end"],
                sensors=given["sensors"],
                progress=work.progress,
            )
    if save_baseline is not None:
        write_baseline(sides([(str(bundles[0]), report)], least=1)[0], save_baseline)
    show(report, given)
