"""Two or more reports side by side: what changed, by how much, and whether the numbers may be compared at all."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit._record import Record
from edgekit.errors import UsageError
from edgekit.report import figures
from edgekit.result import Candidate, Report

LESS_IS_BETTER = ("p50", "p90", "p99", "mean", "size", "memory", "drop")
MORE_IS_BETTER = ("throughput", "score")


@dataclass(frozen=True)
class Row(Record):
    """One compared result; ratios are against the baseline's, and None where one of the two is not there."""

    source: str
    candidate: str
    target: str
    values: Mapping[str, float]
    """p50, p90, p99, mean (ms), throughput (per second), size and memory (MB), score and drop (the metric's unit)."""
    ratios: Mapping[str, float]
    precision: str | None = None
    metric: str | None = None
    noisy: bool = False


@dataclass(frozen=True)
class Comparison(Record):
    """The results, the baseline first, and what makes them hard to compare."""

    rows: tuple[Row, ...]
    differences: tuple[str, ...] = ()
    """What differs in target, machine or software: a ratio of times then says little about the models."""

    @property
    def baseline(self) -> Row:
        return self.rows[0]


def compare(reports: Sequence[tuple[str, Report]]) -> Comparison:
    """Lay reports, each with its name, side by side; the last one is the baseline that ratios are against.

    Raises UsageError for fewer than two and for a report in which nothing was built.
    """
    if len(reports) < 2:
        raise UsageError("a comparison needs two or more reports.", hint="edgekit compare NEW... BASELINE")
    found = [(source, report, candidate) for source, report in reports for candidate in _results(source, report)]
    at = len(found) - len(_results(*reports[-1]))
    base_values = _values(found[at][2])
    rows = [_row(*entry, base_values) for entry in (found[at], *found[:at], *found[at + 1 :])]
    return Comparison(tuple(rows), _differences(reports))


def regressions(comparison: Comparison, allowed: Mapping[str, float]) -> tuple[str, ...]:
    """Say which results are worse than the baseline by more than `allowed`: for each value a share of it, 0.05 is 5 %.

    Raises UsageError when a value is unknown, or when either side has none.
    """
    found = []
    for name, share in allowed.items():
        if name not in (*LESS_IS_BETTER, *MORE_IS_BETTER):
            from edgekit.errors import nearest

            known = (*LESS_IS_BETTER, *MORE_IS_BETTER)
            raise UsageError(f"there is no value '{name}'.{nearest(name, known)}", hint=f"known: {', '.join(known)}")
        old = _needed(comparison.baseline, name)
        for row in comparison.rows[1:]:
            new = _needed(row, name)
            if name in ("score", "drop") and row.metric != comparison.baseline.metric:
                raise UsageError(
                    f"the {name} of '{row.source}' is {row.metric}, that of '{comparison.baseline.source}' is "
                    f"{comparison.baseline.metric}: they cannot be compared.",
                    hint="export both with the same --metric and data, or leave this value out",
                )
            worse = new - old if name in LESS_IS_BETTER else old - new
            if worse > share * abs(old):
                change = f"{100 * worse / abs(old):.1f}%" if old else f"{worse:.4g}"
                noisy = " (measured under noise)" if row.noisy or comparison.baseline.noisy else ""
                found.append(
                    f"{row.source}: {name} {figures.significant(new)} against {figures.significant(old)} of "
                    "the baseline: "
                    f"{change} worse, {100 * share:g}% allowed{noisy}"
                )
    return tuple(found)


def render(comparison: Comparison, *, width: int = 100) -> str:
    """Give the comparison as text."""
    header, cells = _cells(comparison)
    sizes = [max(len(line[i]) for line in (header, *cells)) for i in range(len(header))]
    lines = [f"Baseline: {figures.clean(comparison.baseline.source)}. Ratios are to it; latency in ms, size in MB."]
    lines += [""] if sum(sizes) + 2 * len(sizes) <= width else ["", *_list(header, cells, width)]
    if len(lines) == 2:
        for line in (header, *cells):
            lines.append(
                "  ".join(_fit(cell, size, i) for i, (cell, size) in enumerate(zip(line, sizes, strict=True))).rstrip()
            )
    if comparison.differences:
        lines += ["", "Not like with like:"]
        for difference in comparison.differences:
            lines += textwrap.wrap(difference, width, initial_indent="  - ", subsequent_indent="    ")
    noisy = [figures.clean(row.source) for row in comparison.rows if row.noisy]
    if noisy:
        lines += ["", f"Measured under noise: {', '.join(noisy)}"]
    return "\n".join(lines)


def markdown(comparison: Comparison) -> str:
    """Give the comparison as Markdown."""
    from edgekit.report.markdown import escape, table

    header, cells = _cells(comparison)
    blocks = [f"Baseline: {escape(comparison.baseline.source)}. Ratios are to it; latency in ms, size in MB."]
    blocks.append(table(header, cells, header[2:]))
    blocks += ["Not like with like:"] if comparison.differences else []
    blocks += ["\n".join(f"- {escape(line)}" for line in comparison.differences)] if comparison.differences else []
    return "\n\n".join(blocks) + "\n"


def _results(source: str, report: Report) -> tuple[Candidate, ...]:
    shipped = (report.shipped,) if report.shipped else ()
    found = shipped if report.kind == "export" else report.candidates
    if not found:
        raise UsageError(
            f"'{source}' ships nothing that could be compared.", hint="give the report of an export that passed"
        )
    return found


def _values(candidate: Candidate) -> dict[str, float]:
    measured, quality = candidate.measurement, candidate.quality
    values = {name: measured.percentiles_ms.get(name) for name in ("p50", "p90", "p99")} if measured else {}
    if measured:
        values |= {"mean": measured.mean_ms, "throughput": measured.throughput_per_s, "memory": measured.peak_memory_mb}
    values["size"] = candidate.size_mb
    if quality:
        values |= {"score": quality.score, "drop": quality.drop}
    return {name: value for name, value in values.items() if value is not None}


def _row(source: str, report: Report, candidate: Candidate, base: Mapping[str, float]) -> Row:
    values = _values(candidate)
    ratios = {n: v / base[n] for n, v in values.items() if base.get(n) and n != "drop" and math.isfinite(v / base[n])}
    found = figures.effective(candidate)
    return Row(
        source=source,
        candidate=candidate.name,
        target=report.target,
        values=values,
        ratios=ratios,
        precision=found.main if found else None,
        metric=candidate.quality.metric if candidate.quality else None,
        noisy=bool(candidate.measurement and candidate.measurement.noise.noisy),
    )


def _needed(row: Row, name: str) -> float:
    if name not in row.values:
        raise UsageError(
            f"'{row.source}' has no {name} to compare.", hint="measure it with `edgekit bench`, or leave this value out"
        )
    return row.values[name]


def _differences(reports: Sequence[tuple[str, Report]]) -> tuple[str, ...]:
    facts = [(source, _facts(report)) for source, report in reports]
    names = list(dict.fromkeys(name for _, found in facts for name in found))
    lines = []
    for name in names:
        values = [(source, found.get(name, "not there")) for source, found in facts]
        if len({value for _, value in values}) > 1:
            lines.append(f"{name}: " + ", ".join(f"{value} in {source}" for source, value in values))
    return tuple(lines)


def _facts(report: Report) -> dict[str, str]:
    environment, host = report.environment, report.environment.host
    facts = {
        "target": report.target,
        "model": report.model,
        "evaluation data": _evaluated_on(report),
        "metric": next((c.quality.metric for c in report.candidates if c.quality and c.quality.metric), "none"),
        "processor": f"{host.cpu} ({host.arch})",
        "cores": str(host.cores),
        "instruction sets": " ".join(host.isa) or "none known",
        "system": f"{host.os} {host.kernel}",
        "governor": environment.governor or "unknown",
        "emulated": "yes" if environment.emulated else "no",
    }
    facts |= {f"package {name}": version for name, version in sorted(environment.packages.items())}
    measured = [candidate.measurement for candidate in report.candidates if candidate.measurement]
    if measured:
        facts["threads"] = str(measured[0].threads)
        shapes = {name: list(shape) for name, shape in sorted(measured[0].shapes.items())}
        facts["input shapes"] = ", ".join(f"{name}{shape}" for name, shape in shapes.items())
    if report.kind == "bench":
        del facts["evaluation data"], facts["metric"]
    return facts


def _evaluated_on(report: Report) -> str:
    digest = str(report.data.get("evaluation_digest", ""))[:12]
    return f"{report.data.get('evaluation', 'none')}{f' ({digest})' if digest else ''}"


def _cells(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    names = [
        n
        for n in ("p50", "p90", "p99", "throughput", "size", "score")
        if any(n in row.values for row in comparison.rows)
    ]
    metrics = {row.metric for row in comparison.rows if row.metric}
    titles = {"throughput": "per s", "size": "MB", "score": metrics.pop() if len(metrics) == 1 else "score"}
    header = ["report", "candidate", "runs in"]
    for name in names:
        header += [titles.get(name, name)] if name in ("p99", "score") else [titles.get(name, name), "ratio"]
    lines = []
    for row in comparison.rows:
        line = [figures.clean(row.source), figures.clean(row.candidate), row.precision or figures.NONE]
        for name in names:
            value = row.values.get(name)
            if value is not None and name == "score":
                # Several metrics in one column name themselves.
                line.append(
                    f"{value:.4f}" if titles["score"] != "score" or not row.metric else f"{row.metric} {value:.4f}"
                )
            else:
                line.append(figures.significant(value))
            if name not in ("p99", "score"):
                line.append(figures.ratio(row.ratios.get(name)))
        lines.append(tuple(line))
    return tuple(header), lines


def _list(header: tuple[str, ...], cells: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Give the rows one below the other: for a terminal that is narrower than the table."""
    lines: list[str] = []
    for cell in cells:
        lines.append(f"{cell[0]}  {cell[1]}  {cell[2]}")
        pairs: list[str] = []
        for title, value in zip(header[3:], cell[3:], strict=True):
            if title == "ratio":
                pairs[-1] += f" ({value})"
            else:
                pairs.append(f"{title} {value}")
        # A figure and its ratio stay on one line: they are joined by spaces that do not break.
        figures_line = "  ".join(pair.replace(" ", "\xa0") for pair in pairs)
        wrapped = textwrap.wrap(figures_line, width, initial_indent="    ", subsequent_indent="    ")
        lines += [line.replace("\xa0", " ") for line in wrapped]
    return lines


def _fit(text: str, size: int, column: int) -> str:
    return text.ljust(size) if column < 3 else text.rjust(size)
