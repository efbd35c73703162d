"""The verb that compiles a portable bundle on its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli import options
from edgekit.cli.group import verb
from edgekit.cli.report_output import check_files, show


@verb(
    "finish",
    "Compile a portable bundle on its device, and verify it there.",
    description=(
        "A TensorRT engine runs only on the device that built it, so an export for a Jetson gives a portable "
        "bundle. Run this on the board: BUNDLE is compiled with the board's own software, its outputs are compared "
        "with the original model's, and only then does it replace the portable bundle.",
        "What was prepared stays in the bundle. After an update of the board's software, or on another board, run "
        "it again. `edgekit deploy` does all of it from your own machine.",
    ),
    examples=(("edgekit finish out/mine", "On the board:"),),
    exits=(0, 1, 2, 3, 4, 5, 7, 8, 9),
)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@options.report_option
@options.output_options
def finish(bundle: Path, **given: Any) -> None:
    from edgekit.cli import output
    from edgekit.errors import AccuracyFailure
    from edgekit.result.report import Report

    check_files(given["report_files"])
    with output.job(given) as work:
        from edgekit.bundle import finish as finishing

        try:
            report = finishing.finish(bundle, progress=work.progress)
        except AccuracyFailure as failure:
            failed = failure.context.get("report")
            if isinstance(failed, Report) and not given["as_json"]:
                show(failed, given, folder=bundle)
            raise
    show(report, given, folder=bundle)
