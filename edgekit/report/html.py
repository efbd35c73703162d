"""A report as one self-contained HTML page: inline style and drawings, no script; for screen and paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from edgekit.report import (
    accuracy,
    candidates,
    conditions,
    figures,
    layers,
    noise,
    plot,
    provenance,
    timeline,
    tradeoff,
)
from edgekit.result.measurement import Measurement
from edgekit.result.report import Candidate, Report

_REPAIR = ("stays in", "relative L2", "kind", "layer")
_MIX = ("stays in", "float ms", "int8 ms", "kind", "layer")


def render(report: Report, folder: Path | None = None) -> str:
    """Return the page; the raw latencies that measurements name are read from `folder`, where it has them."""
    word, words = figures.verdict(report)
    bad = not report.ok or word == "NOTHING SHIPPED"
    body = [
        f'<span class="badge{" bad" if bad else ""}">{escape(word)}</span>',
        f"<h1>{escape(words)}</h1>",
        "".join(f'<p class="fail">{escape(figures.clean(failure))}</p>' for failure in report.failures),
        _cards(report),
        _summary(report),
        _candidates(report),
        _section("Measurement", _measurements(report)),
        _section("Trade-offs", tradeoff.render(report)),
        *(_section(title, _table(_REPAIR, rows)) for title, rows in layers.repairs(report)),
        *(_section(title, _table(_MIX, rows)) for title, rows in layers.mixes(report)),
        *(_section(title, _profile(rows)) for title, rows in layers.profiles(report)),
        _distributions(report, folder),
        _section("Over time", timeline.render(report)),
        _section("Environment", _definitions(provenance.environment(report.environment))),
        _section("Noise", _definitions(_noise(report))),
        _section("Data", _definitions(provenance.facts(report))),
        _section("Lineage", _list("ol", (f"<b>{escape(n)}</b> {escape(w)}" for n, w in provenance.lineage(report)))),
        _section("Notes", _list("ul", (escape(figures.clean(note)) for note in report.notes))),
    ]
    style = Path(__file__).with_name("page.css").read_text()
    title = escape(f"{word.capitalize()}: {words}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _cards(report: Report) -> str:
    chosen = report.subject
    if chosen is None:
        return ""
    cards = []
    p50 = figures.percentile(chosen, "p50")
    if p50 is not None and chosen.measurement:
        cards.append((figures.ms(p50), "latency, p50"))
        baselines = [
            (time, c) for c in report.candidates if c.recipe == "fp32" and (time := figures.percentile(c, "p50"))
        ]
        if baselines and chosen.recipe != "fp32":
            time, fastest = min(baselines, key=lambda pair: pair[0])
            gain = figures.gain(report, fastest, time / (figures.reference_p50(report) or p50))
            mark = ", on a NOISY machine" if figures.noisy(report) else ""
            cards.append((gain, f"as fast as the fastest fp32{mark}"))
        cards.append(_rate(chosen.measurement))
    if chosen.quality and chosen.quality.score is not None and chosen.quality.metric:
        cards.append((f"{chosen.quality.score:.4f}", f"{chosen.quality.metric}, {figures.points(chosen.quality.drop)}"))
    elif chosen.quality and chosen.quality.agreement is not None:
        cards.append((f"{100 * chosen.quality.agreement:.2f}%", "top-1 agreement"))
    elif chosen.quality:
        worst = f", '{figures.clean(chosen.quality.worst)}'" if chosen.quality.worst else ""
        cards.append((f"{chosen.quality.cosine:.5f}", f"least cosine to the original{worst}"))
    if chosen.size_mb is not None:
        cards.append((figures.mb(chosen.size_mb), f"in {figures.precision(figures.effective(chosen))}"))
    inner = "".join(f'<div class="card"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in cards)
    return f'<div class="cards">{inner}</div>'


def _rate(measured: Measurement) -> tuple[str, str]:
    """Return the card of how much is done in a second: tokens, of a model that generates."""
    if measured.generation and measured.generation.tokens_per_s:
        first = figures.ms(measured.generation.first_token_ms)
        return f"{figures.significant(measured.generation.tokens_per_s)}/s", f"tokens, the first after {first}"
    return (
        f"{figures.significant(measured.throughput_per_s)}/s",
        "inferences" if measured.batch == 1 else "samples",
    )


def _summary(report: Report) -> str:
    chosen = report.subject
    entries: list[tuple[str, str]] = []
    if chosen is not None:
        entries += [("objective", figures.objective(report))] if report.objective != "latency" else []
        entries += [("speed", speed)] if (speed := figures.speed(report)) else []
        if chosen.quality:
            entries += accuracy.judged(chosen.quality)
        entries += [("size", size)] if (size := figures.footprint(chosen)) else []
        entries.append(("runs in", figures.running(chosen)))
        entries += [("parts", parts)] if (parts := figures.parts(chosen)) else []
        entries += [("options", options)] if (options := candidates.options(chosen)) else []
        if chosen.measurement:
            entries.append(("measured", figures.measurement(chosen.measurement)))
            entries += _conditions(chosen)
    return _definitions([*entries, ("evidence", figures.EVIDENCE[report.evidence])])


def _conditions(candidate: Candidate) -> list[tuple[str, str]]:
    """Return the conditions of the measurement; a warning begins with the word that `_definitions` colours."""
    lines = conditions.lines(candidate.measurement) if candidate.measurement else ()
    return [(what, f"WARNING: {words}" if warn else words) for what, words, warn in lines]


def _measurements(report: Report) -> str:
    """Return, for each bundle of a benchmark, what the summary of an export gives for the shipped one."""
    if report.subject is not None:
        return ""
    blocks = []
    for candidate in candidates.ordered(report):
        if candidate.measurement:
            entries = [("size", figures.footprint(candidate)), ("measured", figures.measurement(candidate.measurement))]
            entries += [("parts", parts)] if (parts := figures.parts(candidate)) else []
            inner = _definitions([*entries, *_conditions(candidate)])
            blocks.append(
                f'<div class="candidate"><div class="name">{escape(figures.clean(candidate.name))}</div>{inner}</div>'
            )
    return "".join(blocks)


def _candidates(report: Report) -> str:
    if not report.candidates:
        return ""
    ordered = candidates.ordered(report)
    longest = max((_bar_end_ms(candidate) for candidate in ordered), default=0.0)
    metric = figures.metric_name(report.candidates)
    blocks = [_candidate(report, candidate, longest, metric) for candidate in ordered]
    to = "the shipped candidate" if report.shipped else "the fastest"
    hint = f"Bars are the p50 latency, whiskers reach to the p90. Ratios are to {to}." if longest else ""
    return _section("Candidates", (f'<p class="hint">{hint}</p>' if hint else "") + "".join(blocks))


def _candidate(report: Report, candidate: Candidate, longest: float, metric: str) -> str:
    row = candidates.row(candidate, figures.reference_p50(report), prepared=figures.prepared(report))
    bad = candidate.status not in ("shipped", "passed", "baseline")
    kind = "shipped" if candidate.status == "shipped" else "bad" if bad else ""
    p50, p90 = figures.percentile(candidate, "p50"), figures.percentile(candidate, "p90")
    time = f"<b>{row.p50}</b> ms &nbsp; {row.ratio}" if p50 is not None else "not measured"
    cells = [
        (f"p90 {row.p90} ms", row.p90),
        (f"{row.tokens} tokens per s", row.tokens),
        (f"{row.rate} per s", row.rate if report.objective == "throughput" else figures.NONE),
        (f"{row.size} MB", row.size),
        (f"{row.memory} MB of memory", row.memory),
        (f"runs in {row.precision}", row.precision),
        (f"{metric} {row.score}", row.score),
        (f"drop {row.drop} points", row.drop),
        (f"agreement {row.agreement}", row.agreement),
    ]
    shown = "".join(f"<span>{escape(words)}</span>" for words, value in cells if value != figures.NONE)
    bar = (
        plot.bar(p50, p90, longest, kind="best" if kind == "shipped" else "out" if bad else "bar")
        if p50 is not None and longest
        else ""
    )
    front = '<span class="status">Pareto front</span>' if candidate.front and candidates.has_front(report) else ""
    reason = f'<div class="reason">{escape(row.reason)}</div>' if row.reason else ""
    return (
        f'<div class="candidate"><div class="head"><span class="name">{escape(row.name)}</span>{front}'
        f'<span class="status {kind}">{escape(row.status)}</span><span class="time">{time}</span></div>{bar}'
        f'<div class="figures">{shown}</div>{reason}</div>'
    )


def _bar_end_ms(candidate: Candidate) -> float:
    return max(figures.percentile(candidate, "p50") or 0.0, figures.percentile(candidate, "p90") or 0.0)


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{title}</th>" for title in header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in lines)
    return f'<div class="table"><table><tr>{head}</tr>{rows}</table></div>'


def _profile(rows: Sequence[tuple[float, str, str, str, str]]) -> str:
    """Return the table of layers, with a bar for the share of the time of each."""
    most = max(share for share, *_ in rows) or 1.0
    head = '<tr><th class="share">share</th><th>ms</th><th>runs in</th><th>kind</th><th>layer</th></tr>'
    lines = "".join(
        f'<tr><td class="share">{plot.share(share, most)}</td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for share, *cells in rows
    )
    return f'<div class="table"><table>{head}{lines}</table></div>'


def _distributions(report: Report, folder: Path | None) -> str:
    """Return a histogram of the raw latencies of each candidate, all on one axis."""
    series = []
    for candidate in candidates.ordered(report):
        raw = plot.read_latencies(folder, candidate.measurement.raw_file if candidate.measurement else None)
        if raw:
            series.append((figures.clean(candidate.name), raw, "best" if candidate.status == "shipped" else "bar"))
    if not series:
        return ""
    low = min(min(raw) for _, raw, _ in series)
    high = max(plot.quantile(raw, 0.99) for _, raw, _ in series)
    blocks = [
        f'<div class="candidate"><div class="head"><span class="name">{escape(name)}</span>'
        f'<span class="time">{len(raw)} inferences</span></div>{plot.histogram(raw, low, high, kind=kind)}</div>'
        for name, raw, kind in series
    ]
    hint = "How the single latencies are spread, on one logarithmic axis for all; the slowest hundredth is left out."
    return _section("Latency distribution", f'<p class="hint">{hint}</p>' + "".join(blocks) + plot.axis(low, high))


def _noise(report: Report) -> list[tuple[str, str]]:
    return [(figures.clean(c.name), noise.describe(c.measurement)) for c in report.candidates if c.measurement]


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inner}</section>" if inner else ""


def _definitions(entries: Sequence[tuple[str, str]]) -> str:
    def mark(words: str) -> str:
        return (
            ' class="fail"'
            if words.startswith("FAILED")
            else ' class="warn"'
            if words.startswith(("NOISY", "WARNING"))
            else ""
        )

    inner = "".join(f"<dt>{escape(name)}</dt><dd{mark(words)}>{escape(words)}</dd>" for name, words in entries)
    return f"<dl>{inner}</dl>" if inner else ""


def _list(tag: str, lines: Iterable[str]) -> str:
    inner = "".join(f"<li>{line}</li>" for line in lines)
    return f"<{tag}>{inner}</{tag}>" if inner else ""
