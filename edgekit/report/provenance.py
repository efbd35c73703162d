"""Where a report's numbers come from, in words: the machine, the data, the steps that made the artifact."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgekit.report.figures import clean, significant
from edgekit.result.report import Environment, Report


def environment(recorded: Environment) -> tuple[tuple[str, str], ...]:
    """Return the machine and software as (what, words)."""
    host = recorded.host
    memory = f", {host.memory_mb} MB" if host.memory_mb else ""
    machine = f"{clean(host.cpu or 'unknown processor')}, {host.cores} cores{memory}" + (
        ", virtual" if host.virtual else ""
    )
    lines = [
        ("machine", machine + (f", {clean(host.board)}" if host.board else "")),
        ("arch", f"{host.arch}: {', '.join(host.isa) or 'no known extensions'}"),
        ("system", f"{host.os} {host.kernel}, {host.libc or 'unknown libc'}, Python {host.python}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in recorded.packages.items())),
    ]
    lines += [("governor", recorded.governor)] if recorded.governor else []
    lines += [("EMULATED", "times of an emulated machine are not those of the device")] if recorded.emulated else []
    lines += [("created", recorded.created)] if recorded.created else []
    return tuple((name, words) for name, words in lines if words)


def facts(report: Report) -> tuple[tuple[str, str], ...]:
    """Return the facts about the data as (what, words)."""
    return tuple((clean(str(name)), _fact(value)) for name, value in report.data.to_dict().items())


def _fact(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value[:12]  # enough to distinguish two digests; the JSON has all of it
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(name))} {_fact(item)}" for name, item in value.items())
    return clean(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))


def lineage(report: Report) -> tuple[tuple[str, str], ...]:
    """Return the steps that made the artifact as (step, words)."""
    steps = []
    for step in report.lineage:
        config = ", ".join(f"{name}={value}" for name, value in step.config.items())
        tools = ", ".join(f"{name} {version}" for name, version in step.tools.items())
        words = [f"{significant(step.seconds)} s", config, tools, *step.notes]
        steps.append((clean(step.name), clean("; ".join(word for word in words if word))))
    return tuple(steps)
