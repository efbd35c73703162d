"""What a report keeps of a measurement's single latencies: their distribution in each block of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit._record import Record
from edgekit.errors import UsageError
from edgekit.result import bounds

SHARES = (
    *(0.05, 0.05, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.05, 0.03, 0.02, 0.02, 0.03, 0.02, 0.01, 0.01),
    *(0.005, 0.005),
)
"""The shares into which the sorted latencies of a block are cut, fine around the median and in the slow tail. Each is
represented by the latency in its middle.
"""


@dataclass(frozen=True)
class LatencyBlock(Record):
    """A block of a measurement: one round of its model, or a few consecutive rounds."""

    cycle: int
    """Blocks of different models of one run with the same number were interleaved."""
    count: int
    seconds: float
    latencies_ms: tuple[float, ...]
    """Ascending: all latencies where there are no more than `SHARES`, else one for each share."""
    p50_ms: tuple[float, ...] = ()
    """Where models were interleaved: the median of each round of the block, and its 90th percentile, in order."""
    p90_ms: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, each list as one line of text: with a line for each number no one could read a
        report.
        """
        plain = super().to_dict()
        lines = {name: " ".join(f"{value:.5g}" for value in getattr(self, name)) for name in _LINES if plain[name]}
        return {name: value for name, value in plain.items() if value != []} | lines

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> LatencyBlock:
        """Return the block that plain values describe. Raises UsageError also for a wrong number of latencies."""
        if isinstance(data, Mapping):
            lines = {name: data[name] for name in _LINES if isinstance(data.get(name), str)}
            data = {**data, **{name: _numbers(line, f"{where}: {name}") for name, line in lines.items()}}
        return super().from_dict(data, where)

    def __post_init__(self) -> None:
        bounds.check("a block's count", (self.count,), least=1)
        bounds.check("a latency", (self.seconds, *self.latencies_ms, *self.p50_ms, *self.p90_ms), above=True)
        if len(self.latencies_ms) != min(self.count, len(SHARES)):
            raise UsageError(
                f"a block of {self.count} latencies keeps {min(self.count, len(SHARES))} numbers, "
                f"found {len(self.latencies_ms)}.",
                hint="measure it again: the file was changed",
            )


_LINES = ("latencies_ms", "p50_ms", "p90_ms")


def _numbers(line: str, where: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError as error:
        raise UsageError(
            f"{where}: '{line[:40]}' is not a line of numbers.", hint="measure it again: the file was changed"
        ) from error
