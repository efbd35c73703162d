"""Print a report, and write it to the files that the user asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.report.compare import Side
    from edgekit.result.report import Report


def show(report: Report, given: Mapping[str, Any], *, bundle: Path | None = None, folder: Path | None = None) -> None:
    """Write the report's files and print it: as text, or as JSON, for an export with the place of its bundle.

    `folder` is where the report's raw latencies lie.
    """
    from edgekit.cli import output
    from edgekit.report import text

    write_files(report, given["report_files"], folder or bundle)
    if given["as_json"]:
        facts = report.to_dict()
        output.emit_json({"bundle": str(bundle), "report": facts} if bundle is not None else facts)
        return
    output.emit(text.render(report, width=output.width(), colour=output.colour_wanted()))
    if bundle is not None:
        from edgekit.bundle import bundle as artifact

        elsewhere = artifact.open(bundle, check=False).manifest.effective is None  # nothing here runs as there
        then = f"edgekit deploy {bundle} --device ssh://BOARD" if elsewhere else f"edgekit run {bundle} INPUT"
        output.emit(f"\nbundle: {bundle}\nnext:   {then}")


def write_files(report: Report, paths: Sequence[Path], folder: Path | None = None) -> None:
    from edgekit import report as reports

    for path in paths:
        reports.write(report, path, folder=folder)


def check_files(paths: Sequence[Path]) -> None:
    """Refuse, before any work, a report file of an unknown kind or in a folder that is not there."""
    from edgekit import report as reports

    for path in paths:
        reports.check(path)


def check_baseline(path: Path) -> None:
    """Refuse, before any work, a baseline that is not named as JSON or in a folder that is not there."""
    from edgekit.errors import UsageError

    if path.suffix != ".json":
        raise UsageError(f"the baseline '{path}' is not named as JSON.", hint="end the name with .json")
    check_files([path])


def write_baseline(side: Side, path: Path) -> None:
    """Write what a gate needs of a result, and say so on stderr."""
    from edgekit import report as reports
    from edgekit.cli import output
    from edgekit.regression import baseline

    reports.write(baseline(side), path)
    output.tell(f"baseline of {side.source}: {path}")
