"""The verb that compares reports, and the regression gate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit._text import visible
from edgekit.cli import options
from edgekit.cli.group import Option, verb

if TYPE_CHECKING:
    from edgekit.regression import Verdict
    from edgekit.report.compare import Comparison, Side


@verb(
    "compare",
    "Compare two or more reports or bundles.",
    description=(
        "Each REPORT is a report.json, a baseline file or the folder of a bundle. The last one is the baseline; ratios "
        "are relative to it. Of an export the shipped candidate is compared, of a benchmark every bundle; of a single "
        "benchmark, its last bundle is the baseline.",
        "Differences that make the numbers hard to compare are listed: another target, processor, package version or "
        "input shape.",
        "With --max-regress the comparison is a gate. From the single latencies it computes the range of the true "
        "change. If all of the range is beyond the limit, the value regressed, and the exit code is 6. If all of it is "
        "within, it did not regress. Otherwise the gate cannot tell, and prints how many more inferences it would "
        "take: a warning, or with --strict the exit code 6. To find changes of 5 %, allow less than 5 %. Times of an "
        "emulator, of another machine, scenario or input shape are refused.",
        "The machine changes between two runs, and the gate allows for that. --run measures the bundles interleaved "
        "in one run, which shows much smaller changes.",
    ),
    examples=(
        ("edgekit compare out/new out/old", "Compare a new bundle with an old one:"),
        ("edgekit compare out --save-baseline baseline.json", "Keep a baseline in version control:"),
        ("edgekit compare out baseline.json --max-regress p90=5%", "In a build pipeline:"),
        ("edgekit compare --run out/new out/old --max-regress p50=2% --max-regress p90=5%",
         "The most reliable comparison, on the device itself:"),
    ),
    exits=(0, 1, 2, 3, 6, 7, 8),
)  # fmt: skip
@click.argument("reports", metavar="REPORT... BASELINE", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--max-regress", cls=Option, metavar="VALUE=PERCENT", multiple=True, group="Budget", unset="no gate",
    help="Fail when VALUE is worse than the baseline's by more than PERCENT of it. VALUE is p50, p90, p95, p99, p99.9, "
    "mean, throughput, energy, cold-start, memory, size or score; drop=1%, 0.01 or 1pt is one point. Repeatable.",
)  # fmt: skip
@click.option(
    "--strict", cls=Option, is_flag=True, group="Budget", unset="off",
    help="Fail also when the gate cannot tell.",
)  # fmt: skip
@click.option(
    "--run", "measure_again", cls=Option, is_flag=True, group="Benchmark", unset="off",
    help="Measure the bundles again, interleaved in one run, instead of reading their reports.",
)  # fmt: skip
@click.option(
    "--seconds", cls=Option, metavar="S", type=click.FloatRange(min=0, min_open=True), default=5.0, group="Benchmark",
    unset="5.0", help="With --run: the least time to measure each bundle for.",
)  # fmt: skip
@click.option(
    "--save-baseline", cls=Option, metavar="FILE", type=click.Path(path_type=Path), unset="none",
    help="Write the part of the first REPORT that a gate needs to FILE, a few kilobytes. It may be the only one.",
)  # fmt: skip
@click.option(
    "--junit", cls=Option, metavar="FILE", type=click.Path(path_type=Path), unset="none",
    help="Write the verdicts as JUnit's XML, a test case for each value.",
)  # fmt: skip
@click.option(
    "--markdown", cls=Option, metavar="FILE", type=click.Path(allow_dash=True, path_type=Path), unset="none",
    help="Write a summary for a pull request; - prints it instead of the text.",
)  # fmt: skip
@options.output_options
def compare(reports: tuple[Path, ...], **given: Any) -> None:
    from edgekit import regression
    from edgekit.cli import output
    from edgekit.cli.report_output import check_baseline, write_baseline
    from edgekit.errors import UsageError
    from edgekit.report.compare import compare as compare_sides

    allowed = dict(_limit(text) for text in given["max_regress"])
    if given["junit"] and not allowed:
        raise UsageError(
            "--junit writes verdicts of a gate, and no gate is given.", hint="add --max-regress, for example p90=5%"
        )
    for path in (given["junit"], given["markdown"]):
        if path and str(path) != "-" and not path.absolute().parent.is_dir():
            raise UsageError(f"'{path}' is in a folder that does not exist.", hint="create the folder first")
    if given["save_baseline"]:
        check_baseline(given["save_baseline"])
    if given["measure_again"]:
        from edgekit.regression import paired_run

        with output.job(given) as work:
            sides = paired_run.measure(reports, seconds=given["seconds"], progress=work.progress)
    else:
        sides = _read(reports, alone=given["save_baseline"] is not None)
    if given["save_baseline"]:
        write_baseline(sides[min(1, len(sides) - 1)], given["save_baseline"])
        if len(sides) == 1:
            return
    comparison = compare_sides(sides)
    verdicts = regression.judge(sides, allowed)
    _output(comparison, verdicts, given)
    _check(comparison, verdicts, given)


def _read(reports: Sequence[Path], *, alone: bool) -> tuple[Side, ...]:
    from edgekit.bundle.bundle import report_of
    from edgekit.report.compare import sides

    loaded = [(str(path), report_of(path)) for path in reports]
    folders = {str(path): path if path.is_dir() else path.parent for path in reports}
    return sides(loaded, folders, least=1 if alone else 2)


def _output(comparison: Comparison, verdicts: Sequence[Verdict], given: Mapping[str, Any]) -> None:
    """Write the files, and print the comparison; with `--json` the facts of a regression are printed with its error."""
    from edgekit.cli import output
    from edgekit.regression import formatting
    from edgekit.report.compare import render

    if given["junit"]:
        given["junit"].write_text(visible(formatting.junit(verdicts, strict=given["strict"])), encoding="utf-8")
    summary = formatting.markdown(comparison, verdicts)
    to_stdout = str(given["markdown"]) == "-"
    if given["markdown"] and not to_stdout:
        given["markdown"].write_text(visible(summary), encoding="utf-8")
    if given["as_json"]:
        if not _failed(verdicts, given):
            output.emit_json(_facts(comparison, verdicts))
    elif to_stdout:
        output.emit(summary.rstrip("\n"))
    else:
        output.emit(render(comparison, width=output.width()))
        if verdicts:
            output.emit("\n" + formatting.render(verdicts))


def _facts(comparison: Comparison, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {**comparison.to_dict(), "verdicts": [verdict.to_dict() for verdict in verdicts]}


def _failed(verdicts: Sequence[Verdict], given: Mapping[str, Any]) -> list[Verdict]:
    failing = ("regressed", "cannot tell") if given["strict"] else ("regressed",)
    return [verdict for verdict in verdicts if verdict.verdict in failing]


def _check(comparison: Comparison, verdicts: Sequence[Verdict], given: Mapping[str, Any]) -> None:
    """Warn of values without a clear verdict, and raise PerformanceFailure for those that fail the gate."""
    from edgekit.cli import output
    from edgekit.errors import PerformanceFailure
    from edgekit.regression import JudgedComparison, formatting

    unsure = [f"{verdict.value} of {verdict.source}" for verdict in verdicts if verdict.verdict == "cannot tell"]
    if unsure and not given["strict"]:
        output.message(f"warning: cannot tell whether {', '.join(unsure)} regressed (--strict makes that a failure)")
    failed = _failed(verdicts, given)
    if not failed:
        return
    lines = "".join(f"\n  - {formatting.line(verdict)}" for verdict in failed)
    regressed = any(verdict.verdict == "regressed" for verdict in failed)
    raise PerformanceFailure(
        f"{'worse than the baseline' if regressed else 'cannot tell whether it is worse than the baseline'}:{lines}",
        hint="find the change, or accept a new baseline with --save-baseline"
        if regressed
        else "measure for longer with --seconds, or both in one run with --run",
        report=JudgedComparison(comparison, tuple(verdicts)),
    )


def _limit(text: str) -> tuple[str, float]:
    from edgekit._share import FORMS, share
    from edgekit.errors import UsageError

    name, equals, value = (part.strip() for part in text.partition("="))
    if name == "drop" and equals:
        # Before `1%`, `0.01` and `1pt` were one point everywhere, `drop=0.3` was 0.3 points here.
        return name, share(value, name, ambiguous_from=0.05)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:%|points?)?", value)
    if not match or not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(
            f"cannot read the limit '{text}'.", hint=f"write it as value=percent, for example p90=5%; a drop as {FORMS}"
        )
    return name, float(match[1]) / 100
