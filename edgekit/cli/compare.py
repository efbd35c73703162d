"""The verb that lays reports side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from edgekit.cli import options
from edgekit.cli.group import Option, verb


@verb(
    "compare",
    "Lay two or more reports or bundles side by side.",
    description=(
        "Each REPORT is a report.json or the folder of a bundle. The last one is the baseline that ratios are "
        "against. Of an export the "
        "shipped candidate is compared, of a benchmark every bundle.",
        "What makes the numbers hard to compare is said: another target, processor, package version, input "
        "shape. With --max-regress "
        "the comparison is a gate: the exit code is 6 when a value is worse than the baseline's by more than that.",
    ),
    examples=(
        ("edgekit compare out/new out/old", "A new bundle against an old one:"),
        ("edgekit compare out/report.json baseline.json --max-regress p90=5%", "In a build pipeline:"),
    ),
    exits=(0, 1, 2, 6),
)
@click.argument("reports", metavar="REPORT... BASELINE", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--max-regress", cls=Option, metavar="VALUE=PERCENT", multiple=True, group="Budget", unset="no gate",
    help="Fail when VALUE is worse than the baseline's by more than PERCENT of it. "
    "VALUE is p50, p90, p99, mean, size, memory, drop, throughput or score. Repeatable.",
)  # fmt: skip
@click.option(
    "--markdown",
    cls=Option,
    is_flag=True,
    group="Output",
    unset="off",
    help="Print a Markdown table, for a pull request.",
)
@options.json_option
def compare(reports: tuple[Path, ...], max_regress: tuple[str, ...], markdown: bool, as_json: bool) -> None:
    from edgekit.cli import output
    from edgekit.errors import PerformanceFailure
    from edgekit.report import compare as comparing
    from edgekit.result import Report

    allowed = dict(_limit(text) for text in max_regress)
    comparison = comparing.compare([(str(path), Report.load(path)) for path in reports])
    worse = comparing.regressions(comparison, allowed)
    if as_json:
        facts: dict[str, Any] = {**comparison.to_dict(), "regressions": list(worse)}
        if not worse:
            output.emit_json(facts)
    elif markdown:
        output.emit(comparing.markdown(comparison).rstrip("\n"))
    else:
        output.emit(comparing.render(comparison, width=output.width()))
    if worse:
        lines = "".join(f"\n  - {line}" for line in worse)
        raise PerformanceFailure(
            f"worse than the baseline:{lines}",
            hint="find the change, or accept a new baseline"
            if set(allowed) <= {"score", "drop", "size"}
            else "measure both again on a quiet machine with `edgekit bench`; then find the change, or accept it",
            report=comparison,
        )


def _limit(text: str) -> tuple[str, float]:
    from edgekit.errors import UsageError

    match = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\d+(?:\.\d+)?)\s*%?\s*", text)
    if not match:
        raise UsageError(f"cannot read the limit '{text}'.", hint="write it as value=percent, for example p90=5%")
    return match[1], float(match[2]) / 100
