"""What the suite says: one row a tool, the verdict on ours, as a record and as a page of Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgekit._record import Record
from edgekit.bench import Comparison
from suite import tools


@dataclass(frozen=True)
class Row(Record):
    """One tool on one model; what could not be had is None, with the reason in `failure`."""

    tool: str
    title: str
    failure: str | None = None
    detail: str | None = None
    """Of ours: which candidate was shipped."""
    score: float | None = None
    drop: float | None = None
    passes: bool | None = None
    """None where nothing was judged: random weights, or a tool without an artifact."""
    p50_ms: float | None = None
    p90_ms: float | None = None
    speed: Comparison | None = None
    """Against ONNX Runtime fp32 in the same run: 2.0 is half its latency."""
    ours: Comparison | None = None
    """Our artifact against this one: above 1, ours is faster."""
    size_mb: float | None = None
    precision: str | None = None
    layers: dict[str, int] = field(default_factory=dict)
    noise: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    build_seconds: float | None = None
    count: int = 0
    round_medians_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Page(Record):
    """All that was found on one model."""

    model: str
    summary: str
    metric: str | None
    allowed: float
    samples: int
    threads: int
    seconds: float
    rows: tuple[Row, ...]
    environment: dict[str, Any]
    command: str
    input: tuple[str, ...] = ()

    def row(self, tool: str) -> Row | None:
        return next((row for row in self.rows if row.tool == tool), None)


def verdict(page: Page) -> str:
    """Return whether ours is at least as fast as every peer's artifact that passes the same gate, within the noise."""
    if all(row.p50_ms is None for row in page.rows):
        return "Nothing was timed."
    ours = page.row(tools.OURS)
    if ours is None:
        return "edgekit was not measured here, so the verdict is open."
    if ours.failure or ours.p50_ms is None:
        return f"**No**: edgekit has no artifact: {ours.failure or 'it was not measured'}."
    if ours.passes is False:
        return "**No**: edgekit's own artifact misses the gate."
    rivals = [row for row in page.rows if row.tool != tools.OURS and row.ours is not None and row.passes is not False]
    if not rivals:
        return "No peer's artifact passed and was measured, so that there is nothing to be slower than."
    slower = [row for row in rivals if row.ours.verdict == "slower"]
    gate = "that passes the gate" if page.metric else "(random weights: nothing is judged)"
    if slower:
        names = "; ".join(f"{row.title} ({_times(row.ours)} its speed)" for row in slower)
        return f"**No**: edgekit's artifact is slower than {names}."
    closest = min(rivals, key=lambda row: row.ours.ratio)
    how = "as fast within the noise" if closest.ours.verdict == "within the noise" else "faster"
    return (
        f"**Yes**: edgekit's artifact is at least as fast as every peer's {gate}. The closest is {closest.title}: "
        f"edgekit has {_times(closest.ours)} its speed, {how}."
    )


def markdown(page: Page) -> str:
    """Write the page: the verdict, the table, what did not build, how it was measured and where."""
    judged = f", {page.metric}" if page.metric else ""
    lines = [
        f"# {page.summary}{judged}",
        "",
        verdict(page),
        "",
        _gate(page),
        "",
        f"![quality against latency](peers-{page.model}.svg)",
        "",
    ]
    lines += _table(page)
    broken = [row for row in page.rows if row.failure]
    if broken:
        lines += ["", "## What did not work", "", *(f"- **{row.title}**: {row.failure}" for row in broken)]
    return "\n".join([*lines, "", *_how(page), ""])


def _gate(page: Page) -> str:
    if page.metric is None:
        return "Random weights: speed only. Quality is not judged, and every artifact that runs is a rival."
    return (
        f"The gate: {page.metric} may be {page.allowed:g} below that of the original in torch, on the same "
        f"{page.samples} labelled samples for all. Artifacts that miss it are no rivals, however fast."
    )


def _table(page: Page) -> list[str]:
    names = (
        "tool",
        page.metric or "quality",
        "drop",
        "gate",
        "p50 ms",
        "p90 ms",
        "speed against ONNX Runtime fp32",
        "MB",
        "runs in",
        "versions",
    )
    lines = ["| " + " | ".join(names) + " |", "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- | --- |"]
    ranked = sorted(page.rows, key=lambda row: row.p50_ms if row.p50_ms is not None else float("inf"))
    for row in ranked:
        title = f"**{row.title}**" if row.tool == tools.OURS else row.title
        title += f" ({row.detail})" if row.detail else ""
        gate = {True: "passes", False: "**misses**", None: "-"}[row.passes]
        versions = ", ".join(f"{name} {value}" for name, value in row.versions.items())
        if row.failure and row.p50_ms is None:
            gate = "no artifact" if row.size_mb is None else "does not run"
        cells = (
            title, _number(row.score, "{:.4f}"), _number(row.drop, "{:+.4f}"), gate,
            _number(row.p50_ms), _number(row.p90_ms), _times(row.speed) if row.speed else "-",
            _number(row.size_mb), row.precision or "-", versions or "-",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _how(page: Page) -> list[str]:
    facts = page.environment
    host = facts["host"]
    flags = ", ".join(host.get("isa") or ())
    return [
        "## How it was measured", "",
        f"- One process for each artifact, in its tool's own environment; one runs at a time, rounds of 200 ms in an "
        f"order that rotates, after a warm-up to steady state; {page.seconds:g} s each, {page.threads} threads, "
        f"batch 1; inputs bound where the runtime can: {', '.join(page.input)}",
        "- Ratios are medians over pairs of rounds that ran next to each other, with their 95 % bootstrap interval",
        f"- The machine: {_noise(page)}",
        f"- {host.get('cpu') or host.get('arch')}, {host.get('cores')} cores, {flags}; {facts.get('created', '')}",
        f"- Again: `{page.command}`",
    ]  # fmt: skip


def _noise(page: Page) -> str:
    timed = [row for row in page.rows if row.noise]
    noisy = [row for row in timed if row.noise != "quiet"]
    if not noisy:
        return "quiet" if timed else "nothing was timed"
    return f"not quiet for {len(noisy)} of {len(timed)} artifacts, as for {noisy[0].title}: {noisy[0].noise}"


def _number(value: float | None, form: str = "{:.3g}") -> str:
    return "-" if value is None else form.format(value)


def _times(compared: Comparison) -> str:
    ratio, low, high = (
        f"{value:.2f}" if value >= 0.1 else f"{value:.2g}" for value in (compared.ratio, compared.low, compared.high)
    )
    return f"{ratio}x ({low} to {high})"
