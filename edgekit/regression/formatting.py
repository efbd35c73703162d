"""Verdicts of the gate for people and for build pipelines: lines of text, Markdown, JUnit's XML."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.regression.gate import Verdict
from edgekit.report import figures
from edgekit.report.compare import Comparison

UNITS = {"throughput": "/s", "size": " MB", "memory": " MB", "energy": " J", "score": "", "drop": ""}
"""What follows a value; ` ms` where nothing is named."""

SAID = {"regressed": "REGRESSED", "not regressed": "not regressed", "cannot tell": "CANNOT TELL"}


def line(found: Verdict) -> str:
    """Say a verdict in one line."""
    return f"{figures.clean(found.source)}: {found.value} {SAID[found.verdict]}: {detail(found)}"


def detail(found: Verdict) -> str:
    """Say the numbers behind a verdict, and what would tell where it cannot."""
    parts = []
    if found.new is not None and found.old is not None and found.worse is not None:
        parts.append(f"{amount(found.value, found.new)} against {amount(found.value, found.old)}")
        parts.append(f"{_change(found)}{_range(found)}, {_share(found, found.allowed)} allowed")
    parts += [f"{found.count:,} inferences on each side, {found.how}"] if found.how else []
    return "; ".join([*parts, *filter(None, [outlook(found)])])


def outlook(found: Verdict) -> str:
    """Return why it cannot be told, and what would tell; empty where there is nothing to say."""
    more = f"{found.more:,} more inferences on each side should tell" if found.more is not None else ""
    return "; ".join(filter(None, [found.reason, more]))


def render(found: Sequence[Verdict]) -> str:
    """Return all verdicts as text, the regressions first."""
    return "\n".join(["Gate:", *(f"  - {line(one)}" for one in _ordered(found))])


def markdown(comparison: Comparison, found: Sequence[Verdict]) -> str:
    """Return the summary of a pull request: the verdict first, a row for each value, then what was compared."""
    from edgekit.report import compare
    from edgekit.report.markdown import table

    worst = next((word for word in ("regressed", "cannot tell") if any(f.verdict == word for f in found)), None)
    title = {"regressed": "Regressed", "cannot tell": "No regression seen, but not all could be told"}
    rows = [
        (one.source, one.value, SAID[one.verdict], _of(one, one.new), _of(one, one.old), _changed(one), _allowed(one),
         outlook(one))
        for one in _ordered(found)
    ]  # fmt: skip
    header = ("result", "value", "verdict", "new", "baseline", "worse by", "allowed", "note")
    keep = [place for place in range(len(header)) if place < 7 or any(row[place] for row in rows)]
    shown = [tuple(row[place] for place in keep) for row in rows]
    blocks = [f"### {title.get(worst or '', 'Not regressed')}"] if found else []
    blocks += [table([header[place] for place in keep], shown, header[3:7])] if found else []
    return "\n\n".join([*blocks, compare.markdown(comparison)])


def junit(found: Sequence[Verdict], *, strict: bool) -> str:
    """Return JUnit's XML: a test case for each value; what cannot be told is skipped, or fails where `strict`."""
    from xml.etree import ElementTree as xml

    failing = ("regressed", "cannot tell") if strict else ("regressed",)
    failures = sum(one.verdict in failing for one in found)
    skipped = sum(one.verdict == "cannot tell" for one in found) * (not strict)
    facts = {"name": "edgekit compare", "tests": str(len(found)), "failures": str(failures), "skipped": str(skipped),
             "errors": "0"}  # fmt: skip
    suites = xml.Element("testsuites")
    suite = xml.SubElement(suites, "testsuite", facts)
    for one in found:
        name = f"{one.value} within {_share(one, one.allowed)}"
        case = xml.SubElement(suite, "testcase", {"classname": figures.clean(one.source), "name": name, "time": "0"})
        words = figures.clean(detail(one))
        if one.verdict in failing:
            xml.SubElement(case, "failure", {"type": one.verdict, "message": words}).text = line(one)
        elif one.verdict == "cannot tell":
            xml.SubElement(case, "skipped", {"message": words})
        else:
            xml.SubElement(case, "system-out").text = words
    xml.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(suites, encoding="unicode") + "\n"


def _ordered(found: Sequence[Verdict]) -> list[Verdict]:
    return sorted(found, key=lambda one: list(SAID).index(one.verdict) if one.verdict != "not regressed" else len(SAID))


def amount(name: str, value: float) -> str:
    if name in ("score", "drop"):
        return f"{value:.4f}"
    return f"{figures.significant(value)}{UNITS.get(name, ' ms')}"


def _change(found: Verdict) -> str:
    worse = found.worse or 0.0
    how = " turn by turn" if found.how and found.value in ("p50", "p90") and "turns" in found.how else ""
    size = f"{100 * abs(worse):.2f} points" if found.value == "drop" else f"{100 * abs(worse):.1f}%"
    return f"{size} {'worse' if worse >= 0 else 'better'}{how}"


def _range(found: Verdict) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" (between {100 * found.low:+.1f}% and {100 * found.high:+.1f}%)"


def _share(found: Verdict, share: float) -> str:
    return f"{float(f'{100 * share:.4g}'):g}{' points' if found.value == 'drop' else '%'}"


def _of(found: Verdict, value: float | None) -> str:
    return figures.NONE if value is None else amount(found.value, value)


def _changed(found: Verdict) -> str:
    if found.worse is None:
        return figures.NONE
    return f"{100 * found.worse:+.1f}{' points' if found.value == 'drop' else '%'}{_range(found)}"


def _allowed(found: Verdict) -> str:
    return _share(found, found.allowed)
