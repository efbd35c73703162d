"""The bounds of measured values: a report that was damaged or edited must not break the page that shows it."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.errors import UsageError

MOST = 1e12
"""Above any time in milliseconds, rate or size that was ever measured."""


def check(what: str, values: Iterable[float | None], *, least: float = 0.0, above: bool = False) -> None:
    """Raise UsageError for a value that is not finite, below `least` (or equal to it, with `above`) or above `MOST`;
    None is a value that was not measured.
    """
    for value in values:
        if value is None:
            continue
        if not least <= value <= MOST or (above and value == least):
            raise UsageError(
                f"{what} has the value {str(value)[:20]}, which cannot be measured.",
                hint="copy the report again, or measure again with `edgekit bench`",
            )
