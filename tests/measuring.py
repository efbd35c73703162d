"""Times on a machine that others use as well: noise only ever adds, so a measurement that it spoilt is taken again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from edgekit.bench import Outcome


def least(measure: Callable[[], float], limit: float, tries: int = 6) -> float:
    """Return the least of up to `tries` measurements; the first one within `limit` ends it."""
    seconds = measure()
    while seconds > limit and (tries := tries - 1) > 0:
        seconds = min(seconds, measure())
    return seconds


def undisturbed(measure: Callable[[], Sequence[Outcome]], check: Callable[..., None], tries: int = 4) -> None:
    """Assert what `check` asserts of the outcomes; where it fails and the bench itself calls them noisy, measure again.

    Without one quiet measurement the test skips: nothing was shown.
    """
    for _ in range(tries):
        outcomes = measure()
        try:
            return check(*outcomes)
        except AssertionError:
            if not any(outcome.measurement and outcome.measurement.noise.noisy for outcome in outcomes):
                raise
    pytest.skip(f"this machine is busy with other work: noise spoilt {tries} measurements")
