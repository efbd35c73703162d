"""Verdicts of the gate for people and for build pipelines: text, Markdown, JUnit's XML."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.regression.gate import ONE_RUN, Verdict
from edgekit.report import figures
from edgekit.report.compare import Comparison

UNITS = {"throughput": "/s", "size": " MB", "memory": " MB", "energy": " J", "score": "", "drop": ""}
"""The unit that follows a value; ` ms` for values that are not listed."""

LABELS = {"regressed": "REGRESSED", "not regressed": "not regressed", "cannot tell": "CANNOT TELL"}


def line(verdict: Verdict) -> str:
    """Return a verdict as one line."""
    return f"{figures.clean(verdict.source)}: {verdict.value} {LABELS[verdict.verdict]}: {detail(verdict)}"


def detail(verdict: Verdict) -> str:
    """Return the numbers behind a verdict, and `outlook`."""
    parts = []
    if verdict.new is not None and verdict.old is not None and verdict.worse is not None:
        parts.append(f"{amount(verdict.value, verdict.new)} against {amount(verdict.value, verdict.old)}")
        parts.append(f"{_change(verdict)}{_range(verdict)}, {_share(verdict, verdict.allowed)} allowed")
    parts += [f"{verdict.count:,} inferences on each side, {verdict.how}"] if verdict.how else []
    return "; ".join([*parts, *filter(None, [outlook(verdict)])])


def outlook(verdict: Verdict) -> str:
    """Return why the verdict is not clear, and what would make it so; empty for a clear one."""
    more = f"{verdict.more:,} more inferences on each side should give a verdict" if verdict.more is not None else ""
    return "; ".join(filter(None, [verdict.reason, more]))


def render(verdicts: Sequence[Verdict]) -> str:
    """Return all verdicts as text, the regressions first."""
    return "\n".join(["Gate:", *(f"  - {line(verdict)}" for verdict in _ordered(verdicts))])


def markdown(comparison: Comparison, verdicts: Sequence[Verdict]) -> str:
    """Return the summary of a pull request: the verdict first, a row for each value, then what was compared."""
    from edgekit.report import compare
    from edgekit.report.markdown import table

    worst = next(
        (word for word in ("regressed", "cannot tell") if any(verdict.verdict == word for verdict in verdicts)), None
    )
    title = {"regressed": "Regressed", "cannot tell": "No regression found, but the gate cannot tell for all values"}
    rows = [
        (
            verdict.source,
            verdict.value,
            LABELS[verdict.verdict],
            _value(verdict, verdict.new),
            _value(verdict, verdict.old),
            _worse_by(verdict),
            _allowed(verdict),
            outlook(verdict),
        )
        for verdict in _ordered(verdicts)
    ]
    header = ("result", "value", "verdict", "new", "baseline", "worse by", "allowed", "note")
    keep = [index for index in range(len(header)) if index < 7 or any(row[index] for row in rows)]
    shown = [tuple(row[index] for index in keep) for row in rows]
    blocks = [f"### {title.get(worst or '', 'Not regressed')}"] if verdicts else []
    blocks += [table([header[index] for index in keep], shown, header[3:7])] if verdicts else []
    return "\n\n".join([*blocks, compare.markdown(comparison)])


def junit(verdicts: Sequence[Verdict], *, strict: bool) -> str:
    """Return JUnit's XML: a test case for each value; one without a clear verdict is skipped, or fails where
    `strict`.
    """
    from xml.etree import ElementTree as xml

    failing = ("regressed", "cannot tell") if strict else ("regressed",)
    failures = sum(verdict.verdict in failing for verdict in verdicts)
    skipped = sum(verdict.verdict == "cannot tell" for verdict in verdicts) * (not strict)
    facts = {"name": "edgekit compare", "tests": str(len(verdicts)), "failures": str(failures), "skipped": str(skipped),
             "errors": "0"}  # fmt: skip
    suites = xml.Element("testsuites")
    suite = xml.SubElement(suites, "testsuite", facts)
    for verdict in verdicts:
        name = f"{verdict.value} within {_share(verdict, verdict.allowed)}"
        case = xml.SubElement(
            suite, "testcase", {"classname": figures.clean(verdict.source), "name": name, "time": "0"}
        )
        words = figures.clean(detail(verdict))
        if verdict.verdict in failing:
            xml.SubElement(case, "failure", {"type": verdict.verdict, "message": words}).text = line(verdict)
        elif verdict.verdict == "cannot tell":
            xml.SubElement(case, "skipped", {"message": words})
        else:
            xml.SubElement(case, "system-out").text = words
    xml.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(suites, encoding="unicode") + "\n"


def _ordered(verdicts: Sequence[Verdict]) -> list[Verdict]:
    order = ("regressed", "cannot tell", "not regressed")
    return sorted(verdicts, key=lambda verdict: order.index(verdict.verdict))


def amount(name: str, value: float) -> str:
    """Return a value with the unit of `name`."""
    if name in ("score", "drop"):
        return f"{value:.4f}"
    return f"{figures.significant(value)}{UNITS.get(name, ' ms')}"


def _change(verdict: Verdict) -> str:
    worse = verdict.worse or 0.0
    how = " in paired rounds" if verdict.value in ("p50", "p90") and verdict.how == ONE_RUN else ""
    size = f"{100 * abs(worse):.2f} points" if verdict.value == "drop" else f"{100 * abs(worse):.1f}%"
    return f"{size} {'worse' if worse >= 0 else 'better'}{how}"


def _range(verdict: Verdict) -> str:
    if verdict.low is None or verdict.high is None:
        return ""
    return f" (between {100 * verdict.low:+.1f}% and {100 * verdict.high:+.1f}%)"


def _share(verdict: Verdict, share: float) -> str:
    return f"{float(f'{100 * share:.4g}'):g}{' points' if verdict.value == 'drop' else '%'}"


def _value(verdict: Verdict, value: float | None) -> str:
    return figures.NONE if value is None else amount(verdict.value, value)


def _worse_by(verdict: Verdict) -> str:
    if verdict.worse is None:
        return figures.NONE
    return f"{100 * verdict.worse:+.1f}{' points' if verdict.value == 'drop' else '%'}{_range(verdict)}"


def _allowed(verdict: Verdict) -> str:
    return _share(verdict, verdict.allowed)
