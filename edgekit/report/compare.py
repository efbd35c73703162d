"""Two or more reports side by side: what changed, by how much, and whether the numbers can be compared at all."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit._record import Record
from edgekit.errors import UsageError
from edgekit.report import figures
from edgekit.result.report import Candidate, Report


@dataclass(frozen=True)
class Row(Record):
    """A compared result; ratios are relative to the baseline's values and left out where one of the two is missing."""

    source: str
    candidate: str
    target: str
    values: Mapping[str, float]
    """By the names that the function `values` gives them."""
    ratios: Mapping[str, float]
    precision: str | None = None
    metric: str | None = None
    noisy: bool = False


@dataclass(frozen=True)
class Comparison(Record):
    """The compared results, the baseline first, and the differences that make them hard to compare."""

    rows: tuple[Row, ...]
    differences: tuple[str, ...] = ()
    """What differs in target, machine or software: ratios of times then say little about the models."""

    @property
    def baseline(self) -> Row:
        return self.rows[0]


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a candidate, its report, and the folder that may hold its raw latencies."""

    source: str
    report: Report
    candidate: Candidate
    folder: Path | None = None


def sides(
    reports: Sequence[tuple[str, Report]], folders: Mapping[str, Path] | None = None, *, least: int = 2
) -> tuple[Side, ...]:
    """Return the results of the named reports, the baseline first: the (first) result of the last report.

    Of a single benchmark of several bundles the last bundle is the baseline. Raises UsageError for fewer than
    `least` results and for a report in which nothing was built.
    """
    groups = [
        [Side(source, report, candidate, (folders or {}).get(source)) for candidate in _results(source, report)]
        for source, report in reports
    ]
    if len(reports) == 1 and reports[0][1].kind == "bench":
        groups = [[replace(side, source=side.candidate.name)] for side in groups[0]]
    if len(groups) < least:
        raise UsageError("a comparison needs two or more reports.", hint="edgekit compare NEW... BASELINE")
    base, *rest = groups[-1]
    return (base, *(side for group in groups[:-1] for side in group), *rest)


def compare(sides: Sequence[Side]) -> Comparison:
    """Return the comparison of results with the first one, which is the baseline."""
    base = values(sides[0].candidate)
    reports = {(side.source, id(side.report)): (side.source, side.report) for side in sides}
    baseline, *others = reports.values()
    return Comparison(tuple(_row(side, base) for side in sides), _differences([*others, baseline]))


def render(comparison: Comparison, *, width: int = 100) -> str:
    """Return the comparison as text of at most `width` columns."""
    header, cells = _cells(comparison)
    sizes = [max(len(line[i]) for line in (header, *cells)) for i in range(len(header))]
    lines = [
        f"Baseline: {figures.clean(comparison.baseline.source)}. Ratios are relative to it; latency in ms, size in MB."
    ]
    lines += [""] if sum(sizes) + 2 * len(sizes) <= width else ["", *_list(header, cells, width)]
    if len(lines) == 2:
        for line in (header, *cells):
            lines.append(
                "  ".join(_fit(cell, size, i) for i, (cell, size) in enumerate(zip(line, sizes, strict=True))).rstrip()
            )
    if comparison.differences:
        lines += ["", "Not directly comparable:"]
        for difference in comparison.differences:
            lines += textwrap.wrap(difference, width, initial_indent="  - ", subsequent_indent="    ")
    noisy = [figures.clean(row.source) for row in comparison.rows if row.noisy]
    if noisy:
        lines += ["", f"Measured under noise: {', '.join(noisy)}"]
    return "\n".join(lines)


def markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown."""
    from edgekit.report.markdown import escape, table

    header, cells = _cells(comparison)
    blocks = [f"Baseline: {escape(comparison.baseline.source)}. Ratios are relative to it; latency in ms, size in MB."]
    blocks.append(table(header, cells, header[2:]))
    blocks += ["Not directly comparable:"] if comparison.differences else []
    blocks += ["\n".join(f"- {escape(line)}" for line in comparison.differences)] if comparison.differences else []
    return "\n\n".join(blocks) + "\n"


def _results(source: str, report: Report) -> tuple[Candidate, ...]:
    shipped = (report.shipped,) if report.shipped else ()
    results = shipped if report.kind == "export" else report.candidates
    if not results:
        raise UsageError(
            f"'{source}' has no shipped candidate to compare.", hint="give the report of an export that passed"
        )
    return results


def values(candidate: Candidate) -> dict[str, float]:
    """Return the values of a candidate that can be compared: percentiles and `mean` in ms, `cold-start` in ms,
    `throughput` per second, `memory` and `size` in MB, `energy` in joules, `score` and `drop` in the metric's unit.
    """
    measured, quality = candidate.measurement, candidate.quality
    known: dict[str, float | None] = {**measured.percentiles_ms} if measured else {}
    if measured:
        cold = measured.cold_start
        known |= {
            "mean": measured.mean_ms,
            "throughput": measured.throughput_per_s,
            "memory": measured.peak_memory_mb,
            "energy": measured.energy_j,
            "cold-start": cold.import_ms + cold.load_ms + cold.first_inference_ms if cold else None,
        }
    known["size"] = candidate.size_mb
    if quality:
        known |= {"score": quality.score, "drop": quality.drop}
    return {name: value for name, value in known.items() if value is not None}


def _row(side: Side, base: Mapping[str, float]) -> Row:
    candidate = side.candidate
    own = values(candidate)
    ratios = {n: v / base[n] for n, v in own.items() if base.get(n) and n != "drop" and math.isfinite(v / base[n])}
    precision = figures.effective(candidate)
    return Row(
        source=side.source,
        candidate=candidate.name,
        target=side.report.target,
        values=own,
        ratios=ratios,
        precision=precision.main if precision else None,
        metric=candidate.quality.metric if candidate.quality else None,
        noisy=bool(candidate.measurement and candidate.measurement.noise.noisy),
    )


def _differences(reports: Sequence[tuple[str, Report]]) -> tuple[str, ...]:
    facts = [(source, _facts(report)) for source, report in reports]
    names = list(dict.fromkeys(name for _, known in facts for name in known))
    lines = []
    for name in names:
        values = [(source, known.get(name, "missing")) for source, known in facts]
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
    digest = (report.data.evaluation_digest or "")[:12]
    return f"{report.data.evaluation or 'none'}{f' ({digest})' if digest else ''}"


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
                # Where the column holds several metrics, each value comes with the name of its own.
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
    """Return the rows as indented paragraphs: for a terminal that is narrower than the table."""
    lines: list[str] = []
    for cell in cells:
        lines.append(f"{cell[0]}  {cell[1]}  {cell[2]}")
        pairs: list[str] = []
        for title, value in zip(header[3:], cell[3:], strict=True):
            if title == "ratio":
                pairs[-1] += f" ({value})"
            else:
                pairs.append(f"{title} {value}")
        # No-break spaces keep a figure and its ratio on one line.
        figures_line = "  ".join(pair.replace(" ", "\xa0") for pair in pairs)
        wrapped = textwrap.wrap(figures_line, width, initial_indent="    ", subsequent_indent="    ")
        lines += [line.replace("\xa0", " ") for line in wrapped]
    return lines


def _fit(text: str, size: int, column: int) -> str:
    return text.ljust(size) if column < 3 else text.rjust(size)
