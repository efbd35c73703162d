"""The verb that checks this machine."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from edgekit.cli import options
from edgekit.cli.group import Option, verb

if TYPE_CHECKING:
    from edgekit.cli.finding import Finding

_WORD = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "broken": ("BROKEN", "red")}


@verb(
    "doctor",
    "Check this machine, and show what to fix and how.",
    description=(
        "Checks Python, the processor, every plugin and its runtime, the versions of the build packages (against "
        "those that edgekit and the packages themselves require), the cache's disk, the targets and telemetry. A "
        "requirement that is not met is shown with the command that fixes it. Nothing is installed or changed.",
        "Heavy packages are not imported in this process; plugins are probed in child processes. The exit code is 3 "
        "when something that an export or a run needs is broken.",
    ),
    examples=(
        ("edgekit doctor", "Run all checks:"),
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
    from edgekit.cli.finding import Checkup
    from edgekit.cli.package_checks import BUILD_MISSING
    from edgekit.errors import EnvironmentFault

    findings = []
    for finding in diagnosis.findings(imports=imports):
        findings.append(finding)
        if not as_json:
            _print(finding)
    broken = [finding for finding in findings if finding.state == "broken"]
    checkup = Checkup(not broken, tuple(findings))
    if broken:
        raise EnvironmentFault(
            f"{len(broken)} of {len(findings)} checks failed: {', '.join(finding.name for finding in broken)}.",
            hint=next((finding.hint for finding in broken if finding.hint), None),
            report=checkup,
        )
    exports = not any(finding.name == BUILD_MISSING for finding in findings)
    words = "models can be exported and bundles run here" if exports else "bundles run here; nothing can be exported"
    output.emit_json(checkup.to_dict()) if as_json else output.emit(f"\n{words}")


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
