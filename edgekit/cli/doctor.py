"""The verb that checks this machine."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from edgekit.cli import options
from edgekit.cli.group import Option, verb

if TYPE_CHECKING:
    from edgekit.cli.diagnosis import Finding

_WORD = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "broken": ("BROKEN", "red")}


@verb(
    "doctor",
    "Check this machine and say what to mend, and how.",
    description=(
        "Looks at Python, the processor, every plugin and its runtime, the versions of the build packages "
        "against those that edgekit and "
        "they themselves require, the cache's disk, the targets and telemetry. A pin that does not hold is "
        "named with the line "
        "that mends it. Nothing is installed or changed.",
        "Heavy packages are not imported in this process; plugins are probed in child processes. The exit code "
        "is 3 when something "
        "that the main job needs is broken.",
    ),
    examples=(
        ("edgekit doctor", "All:"),
        ("edgekit doctor --imports", "Also import each build package, which takes some seconds:"),
    ),
    exits=(0, 1, 3),
)
@click.option(
    "--imports",
    cls=Option,
    is_flag=True,
    group="Check",
    unset="off",
    help="Import each build package in a child process too.",
)
@options.json_option
def doctor(imports: bool, as_json: bool) -> None:
    from edgekit.cli import diagnosis, output
    from edgekit.errors import EnvironmentFault

    findings = []
    for finding in diagnosis.look(imports=imports):
        findings.append(finding)
        if not as_json:
            _print(finding)
    broken = [finding for finding in findings if finding.state == "broken"]
    found = diagnosis.Checkup(not broken, tuple(findings))
    if broken:
        raise EnvironmentFault(
            f"{len(broken)} of {len(findings)} checks failed: {', '.join(finding.name for finding in broken)}.",
            hint=next((finding.hint for finding in broken if finding.hint), None),
            report=found,
        )
    exports = not any(finding.name == diagnosis.BUILD_MISSING for finding in findings)
    words = "all that the main job needs is here" if exports else "bundles run here; nothing can be exported"
    output.emit_json(found.to_dict()) if as_json else output.emit(f"\n{words}")


def _print(finding: Finding) -> None:
    from edgekit.cli import output

    word, colour = _WORD[finding.state]
    label = click.style(word.ljust(7), fg=colour) if output.colour_wanted() else word.ljust(7)
    indent = " " * 34
    lines = textwrap.wrap(finding.words, max(40, output.width() - 34), break_on_hyphens=False) or [""]
    output.emit(f"{label}  {finding.name.ljust(23)}  {lines[0]}")
    for line in lines[1:]:
        output.emit(indent + line)
    if finding.hint:
        output.emit(f"{indent}hint: {finding.hint}")
