"""Several deployments as one table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from edgekit.device.deploy import Outcome
from edgekit.report import figures

HEADER = ("device", "board", "state", "rel. L2", "p50 ms", "p90 ms", "sent MB", "s")
_NUMBERS = HEADER.index("rel. L2")


def table(outcomes: Sequence[Outcome], width: int) -> str:
    """Return a row for each device, and below it what should be said of it."""
    rows = [HEADER, *map(_row, outcomes)]
    sizes = [max(len(row[index]) for row in rows) for index in range(len(HEADER))]
    lines = []
    for row, one in zip(rows, (None, *outcomes), strict=True):
        cells = (
            cell.rjust(size) if index >= _NUMBERS else cell.ljust(size)
            for index, (cell, size) in enumerate(zip(row, sizes, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
        for words in _below(one) if one else ():
            lines += textwrap.wrap(words, width, initial_indent="    ", subsequent_indent="    ")
    failed = sum(not one.ok for one in outcomes)
    count = f"{len(outcomes)} devices"
    return "\n".join([*lines, "", f"{count}: all right" if not failed else f"{count}: {failed} failed"])


def _row(one: Outcome) -> tuple[str, ...]:
    candidate = one.report.subject if one.report else None
    measured = candidate.measurement if candidate else None
    percentiles = measured.percentiles_ms if measured else {}
    board = (one.facts.host.board or one.facts.host.cpu or one.facts.host.arch) if one.facts else figures.NONE
    return (
        one.name,
        figures.clean(board),
        state(one),
        f"{candidate.quality.rel_l2:.1e}" if candidate and candidate.quality else figures.NONE,
        figures.significant(percentiles.get("p50")),
        figures.significant(percentiles.get("p90")),
        f"{one.bytes_sent / 1e6:.1f}",
        f"{one.seconds:.0f}",
    )


def state(one: Outcome) -> str:
    """Say in a word or two how a deployment went."""
    if not one.ok:
        return f"FAILED ({one.exit_code})"
    if one.report is not None and any(candidate.measurement for candidate in one.report.candidates):
        return "measured"
    return "verified, emulated" if one.facts is not None and one.facts.emulated else "verified"


def _below(one: Outcome) -> tuple[str, ...]:
    fault = () if one.fault is None else (str(one.fault["message"]).partition("\n")[0],)
    kept = () if one.bundle is None else (f"the bundle is on the device at {one.bundle}",)
    return tuple(figures.clean(words) for words in (*fault, *one.notes, *kept))
