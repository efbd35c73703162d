"""A report as plain text: the verdict, all candidates, then how the numbers were obtained."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from edgekit.report import accuracy, candidates, conditions, figures, layers, noise, provenance
from edgekit.report.candidates import Row
from edgekit.result.report import Candidate, Report

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_STATUS_COLOUR = {
    "shipped": "green",
    "prepared": "green",
    "failed gate": "red",
    "over budget": "yellow",
    "build failed": "red",
}
_REASON_LEAST = 32
"""Least width of a column of reasons; below it each reason is written under its row."""
_LAYERS_SHOWN = 15


def render(report: Report, *, width: int = 100, colour: bool = False) -> str:
    """Return the report as text of at most `width` columns, with ANSI colours where `colour` is set."""
    page = _Page(width, colour)
    _verdict(page, report)
    if report.candidates:
        page.heading(_table_title(report))
        page.lines += candidates_table(report, width, colour)
        if legend := candidates.legend(report):
            page.lines += textwrap.wrap(legend, width)
    _repairs(page, report)
    _mixes(page, report)
    for candidate in report.candidates:
        _layers(page, candidate)
    _behind(page, report)
    return "\n".join(page.lines)


def candidates_table(report: Report, width: int = 100, colour: bool = False) -> list[str]:
    """Return the table of all candidates.

    Reasons are a column where there is room, else each is written with the status under its row; where even the numbers
    do not fit beside the name, they are written under it.
    """
    cells = candidates.rows(report)
    if candidates.has_front(report):
        cells = tuple(replace(cell, name=f"{cell.name} {candidates.FRONT}") if cell.front else cell for cell in cells)
    columns = _columns(report, cells)
    if report.objective != "memory" and width - _size(columns) < _REASON_LEAST:
        columns = [column for column in columns if column[1] != "memory"]
    left = width - _size(columns)
    if left >= _REASON_LEAST:
        return _wide(cells, columns, width, left, colour)
    columns = [column for column in columns if column[1] != "status"]
    fits = _size(columns) - 2 <= width
    shown = columns if fits else columns[1:]
    header = "  ".join(_fit(title, size, field) for title, field, size in shown)
    lines = [paint(header if fits else f"    {header}", "dim", colour)]
    for cell in cells:
        line = "  ".join(_cell(cell, field, size, colour) for _, field, size in shown).rstrip()
        lines += [line] if fits else [cell.name, f"    {line}"]
        first, *more = textwrap.wrap(
            f"{cell.status}: {cell.reason}" if cell.reason else cell.status,
            width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False,
        )  # fmt: skip
        style = _STATUS_COLOUR.get(cell.status)
        painted = "    " + paint(cell.status, style, colour)
        lines += [first.replace(f"    {cell.status}", painted, 1), *more]
    return lines


def _wide(
    cells: Sequence[Row], columns: Sequence[tuple[str, str, int]], width: int, left: int, colour: bool
) -> list[str]:
    header = "  ".join(_fit(title, size, field) for title, field, size in columns)
    lines = [paint(f"{header}  why", "dim", colour)]
    for cell in cells:
        line = "  ".join(_cell(cell, field, size, colour) for _, field, size in columns)
        first, *more = textwrap.wrap(cell.reason, left, break_on_hyphens=False) or [""]
        lines += [f"{line}  {first}".rstrip(), *(" " * (width - left) + text for text in more)]
    return lines


def _size(columns: Sequence[tuple[str, str, int]]) -> int:
    return sum(size for _, _, size in columns) + 2 * len(columns)


def paint(text: str, style: str | None, colour: bool) -> str:
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if colour and style else text


class _Page:
    """The lines of a page, of at most `width` columns."""

    def __init__(self, width: int, colour: bool) -> None:
        self.lines: list[str] = []
        self.width = width
        self.colour = colour

    def heading(self, text: str) -> None:
        self.lines += ["", *(paint(line, "bold", self.colour) for line in textwrap.wrap(text, self.width))]

    def entry(self, name: str, words: str, style: str | None = None, indent: int = 12) -> None:
        """Append `name  words`, the words wrapped beside the name."""
        room = max(20, self.width - indent)
        label = f"  {name}".ljust(indent)
        lead = 0
        if len(f"  {name}") >= indent:
            label = f"  {name} "
            lead = len(label) - indent
        if lead >= room:  # textwrap does not end where the indent leaves no room
            self.lines.append(paint(label.rstrip(), style or "dim", self.colour))
            label, lead = " " * indent, 0
        wrapped = textwrap.wrap(words, room, initial_indent=" " * lead, break_on_hyphens=False) or [""]
        wrapped = [wrapped[0].lstrip(), *wrapped[1:]]
        self.lines.append(paint(label, style or "dim", self.colour) + wrapped[0])
        self.lines += [" " * indent + text for text in wrapped[1:]]


def _verdict(page: _Page, report: Report) -> None:
    word, words = figures.verdict(report)
    style = "green" if report.ok and word != "NOTHING SHIPPED" else "red"
    first, *more = textwrap.wrap(words, page.width - len(word) - 2) or [""]
    page.lines.append(f"{paint(paint(word, 'bold', page.colour), style, page.colour)}  {first}")
    page.lines += [" " * (len(word) + 2) + text for text in more]
    for failure in report.failures:
        page.entry("failed", figures.clean(failure), "red")
    if chosen := report.subject:
        _chosen(page, report, chosen)
    page.entry("evidence", figures.EVIDENCE[report.evidence])


def _chosen(page: _Page, report: Report, chosen: Candidate) -> None:
    if report.objective != "latency":
        page.entry("objective", figures.objective(report))
    if speed := figures.speed(report):
        page.entry("speed", speed)
    if chosen.measurement and chosen.measurement.generation and report.kind == "export":
        page.entry("generation", conditions.generation(chosen.measurement.generation))
    if chosen.quality:
        for name, words in accuracy.judged(chosen.quality):
            page.entry(name, words, "yellow" if name == "note" else None)
    if footprint := figures.footprint(chosen):
        page.entry("size", footprint)
    page.entry("runs in", figures.running(chosen))
    if parts := figures.parts(chosen):
        page.entry("parts", parts)
    if options := candidates.options(chosen):
        page.entry("options", options)


def _table_title(report: Report) -> str:
    if report.kind == "export":
        return f"Candidates ({len(report.candidates)}); latency in ms, size in MB, drop in points, ratio to the shipped"
    return "Results; latency in ms, size in MB, drop in points, ratio to the fastest"


def _columns(report: Report, cells: Sequence[Row]) -> list[tuple[str, str, int]]:
    titles = {
        "name": "candidate",
        "status": "status",
        "p50": "p50",
        "p90": "p90",
        "end_to_end": "end to end",
        "ratio": "ratio",
        "tokens": "tokens/s",
        "rate": "per s",
        "size": "MB",
        "memory": "RAM",
        "precision": "runs in",
        "score": figures.metric_name(report.candidates),
        "drop": "drop",
        "agreement": "agree",
    }
    shown = []
    for field, title in titles.items():
        if field == "rate" and report.objective != "throughput":
            continue
        values = [getattr(cell, field) for cell in cells]
        if field in ("name", "status") or any(value != figures.NONE for value in values):
            shown.append((title, field, max(len(title), *map(len, values))))
    return shown


def _fit(text: str, size: int, field: str) -> str:
    return text.ljust(size) if field in ("name", "status", "precision") else text.rjust(size)


def _cell(row: Row, field: str, size: int, colour: bool) -> str:
    value = getattr(row, field)
    return paint(_fit(value, size, field), _STATUS_COLOUR.get(value) if field == "status" else None, colour)


def _layers(page: _Page, candidate: Candidate) -> None:
    if not candidate.layers:
        return
    total = sum(layer.time_ms for layer in candidate.layers) or 1.0
    slowest = sorted(candidate.layers, key=lambda layer: -layer.time_ms)[:_LAYERS_SHOWN]
    page.heading(f"Slowest layers of {figures.clean(candidate.name)}, {len(slowest)} of {len(candidate.layers)}")
    for layer in slowest:
        time = f"{figures.significant(layer.time_ms):>7} ms  {100 * layer.time_ms / total:5.1f}%"
        words = f"  {time}  {layer.precision:<5} {layer.kind:<18} {figures.clean(layer.name)}"
        page.lines.append(words if len(words) <= page.width else words[: page.width - 3] + "...")


def _repairs(page: _Page, report: Report) -> None:
    for title, rows in layers.repairs(report):
        page.heading(title)
        for form, cost, kind, name in rows:
            words = f"  {form:<5}  {cost}  {kind:<8} {name}"
            page.lines.append(words if len(words) <= page.width else words[: page.width - 3] + "...")


def _mixes(page: _Page, report: Report) -> None:
    for title, rows in layers.mixes(report):
        page.heading(title)
        size = max(len(kind) for _, _, _, kind, _ in rows)
        page.lines.append(
            paint(f"  {'stays in':<8}  {'float':>7}  {'int8':>7}  {'kind':<{size}} layer", "dim", page.colour)
        )
        for form, in_float, in_int8, kind, name in rows:
            words = f"  {form:<8}  {in_float:>7}  {in_int8:>7}  {kind:<{size}} {name}"
            page.lines.append(words if len(words) <= page.width else words[: page.width - 3] + "...")


def _behind(page: _Page, report: Report) -> None:
    chosen = report.subject
    measured = [candidate for candidate in report.candidates if candidate.measurement]
    if measured:
        page.heading("Measurement")
        indent = 14 if report.kind in ("bench", "deploy") else 12
        if report.kind in ("bench", "deploy"):
            for candidate in measured:
                name = "size" if len(measured) == 1 else figures.clean(candidate.name)
                page.entry(name, figures.footprint(candidate), indent=indent)
                prefix = "" if len(measured) == 1 else f"{figures.clean(candidate.name)}: "
                if parts := figures.parts(candidate):
                    page.entry("parts", prefix + parts, indent=indent)
                for what, words, warn in conditions.lines(candidate.measurement) if candidate.measurement else ():
                    page.entry(what, prefix + words, "yellow" if warn else None, indent)
        first = (report.shipped or measured[0]).measurement or measured[0].measurement
        if first is not None:
            page.entry("how", figures.measurement(first), indent=indent)
        for words, noisy in noise.describe_all(report):
            page.entry("noise", words, "yellow" if noisy else None, indent)
    for title, entries in (
        ("Environment", provenance.environment(report.environment)),
        ("Data", provenance.facts(report)),
        ("Lineage", provenance.lineage(report)),
    ):
        if entries:
            page.heading(title)
            for name, words in entries:
                page.entry(name, words, indent=max(12, min(24, 4 + max(len(entry[0]) for entry in entries))))
    # Notes of the shipped candidate are printed with its quality.
    notes = [note for note in report.notes if not (chosen and chosen.quality and note in chosen.quality.notes)]
    if notes:
        page.heading("Notes")
        for note in notes:
            page.lines += textwrap.wrap(
                figures.clean(note), page.width, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
            )
