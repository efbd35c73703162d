"""What a report keeps of a measurement's single latencies: how they are spread in each stretch of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit._record import Record
from edgekit.errors import UsageError

SHARES = (
    *(0.05, 0.05, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.05, 0.03, 0.02, 0.02, 0.03, 0.02, 0.01, 0.01),
    *(0.005, 0.005),
)
"""The shares into which the sorted latencies of a turn are cut, fine around the median and in the slow tail. The
latency in the middle of each stands for all of it.
"""


@dataclass(frozen=True)
class Turn(Record):
    """A stretch of a measurement: one turn of its model, or a few that followed each other."""

    cycle: int
    """Turns of different models of one run with the same number ran next to each other."""
    count: int
    seconds: float
    latencies_ms: tuple[float, ...]
    """Ascending: all of them where there are no more than `SHARES`, else one for each share."""

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, the latencies in one line of text: a line for each would be no report to read."""
        return {**super().to_dict(), "latencies_ms": " ".join(f"{value:.5g}" for value in self.latencies_ms)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> Turn:
        """Read plain values. Raises UsageError also when the latencies are not as many as they must be."""
        words = data.get("latencies_ms") if isinstance(data, Mapping) else None
        if isinstance(words, str):
            try:
                data = {**data, "latencies_ms": [float(word) for word in words.split()]}
            except ValueError as error:
                raise UsageError(f"{where}: latencies_ms: '{words[:40]}' is no line of numbers.") from error
        return super().from_dict(data, where)

    def __post_init__(self) -> None:
        if len(self.latencies_ms) != min(self.count, len(SHARES)):
            raise UsageError(
                f"a turn of {self.count} latencies keeps {min(self.count, len(SHARES))} numbers, "
                f"found {len(self.latencies_ms)}."
            )
