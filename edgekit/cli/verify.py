"""The verbs that check and measure a bundle on the machine they run on: verify and bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import command_line, options
from edgekit.cli.group import Option, verb
from edgekit.cli.report_output import check_baseline, check_files, show, write_baseline

if TYPE_CHECKING:
    from edgekit.result.report import Report


@verb(
    "verify",
    "Check a bundle's outputs against the original model's.",
    description=(
        "BUNDLE contains a few inputs with the original model's outputs; its own outputs on this machine are compared "
        "with those. With --data it is also evaluated on labelled samples: the metric is compared with the original's "
        "score that the export stored, so give the data that the bundle was exported with.",
        "Neither needs torch or the original model. The first lines show whether it passed; the exit code is 5 when "
        "it did not.",
    ),
    examples=(
        ("edgekit verify out/digits", "Check it on the stored samples:"),
        ("edgekit verify out/mine --data ./val --max-drop 0.005", "Check it on labelled data too:"),
    ),
    exits=(0, 1, 2, 3, 5, 7, 8),
)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@options.data_options
@options.drop_option
@options.device_options
@options.report_option
@options.output_options
@click.pass_context
def verify(ctx: click.Context, /, bundle: Path, **given: Any) -> None:
    from edgekit.cli import output
    from edgekit.errors import UsageError

    check_files(given["report_files"])
    if given["data"] is None and (stray := sorted(set(command_line.typed(ctx)) & _OF_DATA)):
        raise UsageError(
            f"--{stray[0].replace('_', '-')} needs --data, which is not given.",
            hint="add --data with the samples of the export, or leave the option out",
        )
    if given["device"]:
        return _verdict(_on_device(ctx, (bundle,), given), bundle, given)
    with output.job(given) as work:
        from edgekit.bundle import verify as verification
        from edgekit.data import DataRef

        columns = {field: given[name] for name, field in _COLUMNS.items() if given[name]}
        ref = None if given["data"] is None else DataRef(given["data"], **columns)
        limits = {name: given[name] for name in ("max_drop", "max_samples") if given[name] is not None}
        report = verification.verify(bundle, data=ref, progress=work.progress, **limits)
    _verdict(report, bundle, given)


def _verdict(report: Report, bundle: Path, given: dict[str, Any]) -> None:
    """Print the report of a verification, and raise AccuracyFailure where it failed."""
    from edgekit.bundle import stored_checks
    from edgekit.errors import AccuracyFailure

    if report.ok:
        show(report, given, folder=bundle)
        return
    if not given["as_json"]:
        show(report, given, folder=bundle)
    stored = [check for c in report.candidates if c.quality for check in c.quality.checks if not check.passed]
    broken = any(check.name in (stored_checks.STORED, stored_checks.SIZE) for check in stored)
    raise AccuracyFailure(
        f"the outputs of bundle '{bundle}' differ from the original's: {'; '.join(report.failures)}.",
        hint="copy or export the bundle again; if it still fails on this machine only, report the processor "
        "and `edgekit doctor --json`"
        if broken
        else "export it again with this budget, or allow more with --max-drop",
        report=report,
    )


def _on_device(ctx: click.Context, bundles: Sequence[Path], given: dict[str, Any]) -> Report:
    """Run the same verb with the same options on a device, and return its report."""
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
        "Each BUNDLE is run in a process of its own, on its first stored input, warmed up until its times are steady. "
        "Several bundles are interleaved, so that a change of the machine's clock or load affects all of them. One "
        "complete inference of a bound call is timed: no preprocessing, no copying of feeds. --end-to-end also times "
        "the way from a raw input to the answer.",
        "Scenarios: single-stream, the next inference on completion of the last. offline, batches and parallel streams "
        "for throughput. fixed-rate, arrivals by schedule as from a camera, where latency counts from the arrival "
        "and late answers are missed deadlines. sustained, minutes without a pause, with latency, clocks and "
        "temperature over time, and whether the machine slowed down.",
        "Temperature, clocks, power and memory are read meanwhile where the machine has sensors; energy is that of the "
        "named rail. A missing value is null, with the reason.",
        "Percentiles are given only where the number of inferences supports them. The report shows when other "
        "processes used the processor: then measure again on a quiet machine.",
    ),
    examples=(
        ("edgekit bench out/digits", "One bundle:"),
        ("edgekit bench out/int8 out/fp32 --seconds 10", "Two interleaved, at least ten seconds each:"),
        ("edgekit bench out/mine --profile", "With the time of each layer:"),
        ("edgekit bench bundles/mine --device ssh://pi@kitchen", "A bundle on a device:"),
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
    help="Write the part of the report that `edgekit compare` needs to FILE, a few kilobytes. For one BUNDLE only.",
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
                f"--save-baseline takes one bundle, {len(bundles)} are given.", hint="measure them one by one"
            )
    if given["device"]:
        report = _on_device(ctx, bundles, given)
    else:
        with output.job(given) as work:
            from edgekit.bench import Workload
            from edgekit.bundle import verify as verification

            report = verification.benchmark(
                bundles,
                seconds=seconds,
                profile=profile,
                workload=Workload(**{name: given[name] for name in options.WORKLOAD}),
                end_to_end=given["end_to_end"],
                sensors=given["sensors"],
                progress=work.progress,
            )
    if save_baseline is not None:
        write_baseline(sides([(str(bundles[0]), report)], least=1)[0], save_baseline)
    show(report, given)
