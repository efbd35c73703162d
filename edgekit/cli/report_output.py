"""The output of a report: printed, and written to the files that the user asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.report.compare import Side
    from edgekit.result.report import Report


def show(report: Report, given: Mapping[str, Any], *, bundle: Path | None = None, folder: Path | None = None) -> None:
    """Write the report to its files and print it, as text or as JSON; `bundle` is the bundle that an export wrote.

    `folder` holds the report's raw latencies.
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
        from edgekit.bundle.bundle import open as open_bundle

        portable = open_bundle(bundle, check=False).manifest.effective is None  # it did not run on this machine
        given_to_run = _example(report.data.evaluation, bundle) or "INPUT"
        command = (
            f"edgekit deploy {bundle} --device ssh://BOARD" if portable else f"edgekit run {bundle} {given_to_run}"
        )
        output.emit(f"\nbundle: {bundle}\nnext:   {command}")


def _example(source: str | None, bundle: Path) -> str | None:
    """Return a picture or a sound of the data, as a word of a command line; None for a task that takes neither."""
    import shlex

    from edgekit.data.folder import files
    from edgekit.data.picture import SUFFIXES
    from edgekit.data.sound import SOUNDS
    from edgekit.model import ASSETS
    from edgekit.tasks.config import TaskConfig

    config, path = TaskConfig.load(bundle / ASSETS), Path(source or "").expanduser()
    suffixes = None if config is None else SUFFIXES if config.image else SOUNDS if config.audio else None
    if suffixes is None or not source or not path.exists():
        return None
    if path.suffix.lower() in suffixes:
        return shlex.quote(str(path))
    # Annotations lie beside their pictures; any other file holds its samples itself.
    folder = path if path.is_dir() else path.parent if path.suffix in (".json", ".yaml", ".yml") else None
    first = None if folder is None else next(files(folder, suffixes), None)
    return None if first is None else shlex.quote(str(first))


def write_files(report: Report, paths: Sequence[Path], folder: Path | None = None) -> None:
    """Write the report to each path, in the format of its suffix."""
    from edgekit.report import write

    for path in paths:
        write(report, path, folder=folder)


def check_files(paths: Sequence[Path]) -> None:
    """Raise UsageError, before any work, for a report file of an unknown kind or in a folder that does not exist."""
    from edgekit.report import check

    for path in paths:
        check(path)


def check_baseline(path: Path) -> None:
    """Raise UsageError, before any work, for a baseline that is not named as JSON or in a folder that does not
    exist.
    """
    from edgekit.errors import UsageError

    if path.suffix != ".json":
        raise UsageError(f"the name of the baseline '{path}' does not end with .json.", hint="end it with .json")
    check_files([path])


def write_baseline(side: Side, path: Path) -> None:
    """Write the baseline of a result, and print its path on stderr."""
    from edgekit.cli import output
    from edgekit.regression import baseline
    from edgekit.report import write

    write(baseline(side), path)
    output.message(f"baseline of {side.source}: {path}")
