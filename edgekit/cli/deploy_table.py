"""Several deployments as one table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from edgekit.device.deploy import Outcome
from edgekit.report import figures

HEADER = ("device", "board", "state", "rel. L2", "p50 ms", "p90 ms", "sent MB", "s")
_NUMBERS = HEADER.index("rel. L2")


def table(outcomes: Sequence[Outcome], width: int) -> str:
    """Return a row for each device, with its error, its notes and the place of a kept bundle below it."""
    rows = [HEADER, *map(_row, outcomes)]
    sizes = [max(len(row[index]) for row in rows) for index in range(len(HEADER))]
    lines = []
    for row, outcome in zip(rows, (None, *outcomes), strict=True):
        cells = (
            cell.rjust(size) if index >= _NUMBERS else cell.ljust(size)
            for index, (cell, size) in enumerate(zip(row, sizes, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
        for words in _below(outcome) if outcome else ():
            lines += textwrap.wrap(words, width, initial_indent="    ", subsequent_indent="    ")
    failed = sum(not outcome.ok for outcome in outcomes)
    count = f"{len(outcomes)} devices"
    return "\n".join([*lines, "", f"{count}: all succeeded" if not failed else f"{count}: {failed} failed"])


def _row(outcome: Outcome) -> tuple[str, ...]:
    candidate = outcome.report.subject if outcome.report else None
    measured = candidate.measurement if candidate else None
    percentiles = measured.percentiles_ms if measured else {}
    host = outcome.facts.host if outcome.facts else None
    board = (host.board or host.cpu or host.arch) if host else figures.NONE
    return (
        outcome.name,
        figures.clean(board),
        state(outcome),
        f"{candidate.quality.rel_l2:.1e}" if candidate and candidate.quality else figures.NONE,
        figures.significant(percentiles.get("p50")),
        figures.significant(percentiles.get("p90")),
        f"{outcome.bytes_sent / 1e6:.1f}",
        f"{outcome.seconds:.0f}",
    )


def state(outcome: Outcome) -> str:
    """Return the result of a deployment in a word or two."""
    if not outcome.ok:
        return f"FAILED ({outcome.exit_code})"
    if outcome.report is not None and any(candidate.measurement for candidate in outcome.report.candidates):
        return "measured"
    return "verified, emulated" if outcome.facts is not None and outcome.facts.emulated else "verified"


def _below(outcome: Outcome) -> tuple[str, ...]:
    fault = () if outcome.fault is None else (str(outcome.fault["message"]).partition("\n")[0],)
    kept = () if outcome.bundle is None else (f"the bundle is on the device at {outcome.bundle}",)
    return tuple(figures.clean(words) for words in (*fault, *outcome.notes, *kept))
