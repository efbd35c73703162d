"""A report as Markdown: fit for a pull request's comment or a model card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgekit._text import visible
from edgekit.report import accuracy, candidates, conditions, figures, layers, noise, provenance
from edgekit.result.report import Report


def render(report: Report) -> str:
    """Return the report as GitHub's Markdown."""
    word, words = figures.verdict(report)
    blocks = [f"# {word.capitalize()}: {escape(words)}"]
    blocks += [f"**Failed:** {escape(failure)}" for failure in report.failures]
    chosen = report.subject
    summary: list[tuple[str, str]] = []
    if chosen is not None:
        summary += [("objective", figures.objective(report))] if report.objective != "latency" else []
        summary += [("speed", speed)] if (speed := figures.speed(report)) else []
        if chosen.measurement and chosen.measurement.generation and report.kind == "export":
            summary += [("generation", conditions.generation(chosen.measurement.generation))]
        if chosen.quality:
            summary += accuracy.judged(chosen.quality)
        summary += [("size", size)] if (size := figures.footprint(chosen)) else []
        summary += [("runs in", figures.running(chosen))]
        summary += [("parts", parts)] if (parts := figures.parts(chosen)) else []
        summary += [("options", options)] if (options := candidates.options(chosen)) else []
    blocks.append(items([*summary, ("evidence", figures.EVIDENCE[report.evidence])]))
    if report.candidates:
        blocks += ["## Candidates", _candidates(report)]
        blocks += [escape(legend)] if (legend := candidates.legend(report)) else []
    for title, lossy in layers.repairs(report):
        blocks += [f"## {escape(title)}", table(("stays in", "relative L2", "kind", "layer"), lossy, ("relative L2",))]
    for title, timed in layers.mixes(report):
        header = ("stays in", "float ms", "int8 ms", "kind", "layer")
        blocks += [f"## {escape(title)}", table(header, timed, ("float ms", "int8 ms"))]
    measured = [candidate for candidate in report.candidates if candidate.measurement]
    if measured:
        lines = [("noise", words) for words, _ in noise.describe_all(report)]
        if report.kind in ("bench", "deploy"):
            for candidate in measured:
                lines.append((candidate.name, figures.footprint(candidate)))
                prefix = "" if len(measured) == 1 else f"{candidate.name}: "
                lines += [("parts", prefix + parts)] if (parts := figures.parts(candidate)) else []
                if candidate.measurement:
                    lines += [(what, prefix + words) for what, words, _ in conditions.lines(candidate.measurement)]
        how = (report.shipped or measured[0]).measurement or measured[0].measurement
        blocks += ["## Measurement", items([("how", figures.measurement(how)), *lines] if how else lines)]
    for title, entries in (
        ("Environment", provenance.environment(report.environment)),
        ("Data", provenance.facts(report)),
        ("Lineage", provenance.lineage(report)),
    ):
        if entries:
            blocks += [f"## {title}", items(entries)]
    if report.notes:
        blocks += ["## Notes", "\n".join(f"- {escape(note)}" for note in report.notes)]
    return visible("\n\n".join(blocks) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    """Return a table; columns named in `numbers` are aligned to the right."""
    lines = ["| " + " | ".join(map(escape, header)) + " |"]
    lines.append("|" + "|".join(" ---: " if name in numbers else " --- " for name in header) + "|")
    lines += ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def items(entries: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{escape(name)}**: {escape(words)}" for name, words in entries)


def escape(text: str) -> str:
    """Return a name or a reason on one line, escaped so that it is not read as markup."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", figures.clean(text)).replace("&", "&amp;")


def _candidates(report: Report) -> str:
    metric, front = figures.metric_name(report.candidates), candidates.has_front(report)
    header = (
        "candidate", "status", "p50 ms", "p90 ms", "end to end ms", "ratio", "tokens/s", "per s", "MB", "RAM, MB",
        "runs in", metric, "drop, points", "agreement", "why",
    )  # fmt: skip
    cells = [
        (f"{row.name} {candidates.FRONT}" if row.front and front else row.name, row.status, row.p50, row.p90,
         row.end_to_end, row.ratio, row.tokens, row.rate if report.objective == "throughput" else figures.NONE,
         row.size, row.memory, row.precision, row.score, row.drop, row.agreement, row.reason or figures.NONE)
        for row in candidates.rows(report)
    ]  # fmt: skip
    keep = [i for i in range(len(header)) if i < 2 or any(row[i] != figures.NONE for row in cells)]
    shown = tuple(header[i] for i in keep)
    numbers = tuple(name for name in shown if name not in ("candidate", "status", "runs in", "why"))
    return table(shown, [tuple(row[i] for i in keep) for row in cells], numbers)
