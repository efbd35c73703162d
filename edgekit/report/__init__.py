"""Reports for people: plain text, Markdown, and one self-contained HTML page. The values are in `edgekit.result`."""

from __future__ import annotations

from pathlib import Path

from edgekit._files import replacing
from edgekit._text import visible
from edgekit.errors import UsageError, nearest
from edgekit.result.report import Report

SUFFIXES = (".html", ".md", ".txt", ".json")


def check(path: Path) -> None:
    """Raise UsageError unless a report can be written to `path`: a known suffix, in a folder that exists."""
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"'{path}': a report is not written as '{path.suffix}'.{nearest(path.suffix, SUFFIXES)}",
            hint=f"end the name with one of {', '.join(SUFFIXES)}",
        )
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder.", hint="give a file name in a folder that exists")
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"the folder '{path.parent}' of the report '{path.name}' does not exist.",
            hint="give a file name in a folder that exists",
        )


def write(report: Report, path: Path, *, folder: Path | None = None) -> None:
    """Write `report` to `path` in the format of its suffix; `folder` holds the report's raw latencies.

    The file is written under a temporary name and renamed, so that a killed run leaves the old file or the new one.
    Raises UsageError for what `check` refuses.
    """
    check(path)
    with replacing(path) as file:
        if path.suffix == ".json":
            report.save(file)
        else:
            file.write_text(visible(_render(report, path.suffix, folder)), encoding="utf-8")


def _render(report: Report, suffix: str, folder: Path | None) -> str:
    if suffix == ".html":
        from edgekit.report import html

        return html.render(report, folder)
    if suffix == ".md":
        from edgekit.report import markdown

        return markdown.render(report)
    from edgekit.report import text

    return text.render(report)
