"""The loss of a metric that a user allows, as it is written everywhere: `1%`, `0.01` or `1pt` are one point."""

from __future__ import annotations

import math
import re

from edgekit.errors import UsageError

AMBIGUOUS_FROM = 0.5
"""A plain number from here on is refused: who writes 1 means one point more often than the whole metric."""

_FORM = re.compile(r"\s*(?P<number>\d+\.?\d*|\.\d+)\s*(?P<unit>%|pts?|points?|pp)?\s*", re.IGNORECASE)

FORMS = "1%, 0.01 or 1pt for one point"


def share(value: float | str, name: str = "max_drop", *, ambiguous_from: float = AMBIGUOUS_FROM) -> float:
    """Return a share of a metric between 0 and 1: text in percent or points, or a plain number.

    Raises UsageError for what is neither, and, with both readings, for a plain number of `ambiguous_from` and more.
    """
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        raise UsageError(f"cannot read {name} = '{value}'.", hint=f"correct '{name}': {FORMS}")
    number = float(match["number"] if match else value)
    in_points = match is not None and match["unit"] is not None
    if in_points:
        number /= 100
    if not 0 <= number <= 1:  # true for nan too
        points = f" (for {number:g} points write {number:g}%)" if not in_points and math.isfinite(number) else ""
        raise UsageError(
            f"{name} = {value if in_points else f'{number:g}'} is not possible: it must be between 0 and 1, "
            f"or 0% and 100%{points if number > 1 else ''}.",
            hint=f"write {FORMS}, or leave {name} out",
        )
    if not in_points and number >= ambiguous_from:
        raise UsageError(
            f"{name} = {number:g} can be read in two ways: {_points(number)} ({number:g}%), or {number:g} of the "
            f"metric, which is {_points(100 * number)}.",
            hint=f"write {number:g}% for {_points(number)}, or {100 * number:g}% for {_points(100 * number)}",
        )
    return number


def _points(number: float) -> str:
    return f"{number:g} point{'' if number == 1 else 's'}"
