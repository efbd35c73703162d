"""The latencies of one measurement, turn by turn: the raw ones where they are kept, else what the report keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bench.percentile import PER_MILLE
from edgekit.errors import UsageError
from edgekit.result.latency_block import SHARES, LatencyBlock
from edgekit.result.measurement import Measurement

if TYPE_CHECKING:
    import numpy as np

UNKNOWN_TURNS = 20
"""Equal parts into which raw latencies are cut whose report does not say where its turns ended."""


_CHUNK = 2_000_000
"""Points that are weighted at once: 16 MB."""


@dataclass(frozen=True)
class Latencies:
    """Latencies with the turn that each belongs to."""

    values_ms: np.ndarray
    """Ascending, float [points]."""
    weights: np.ndarray
    """How many latencies each point stands for, float [points]."""
    turn: np.ndarray
    """The place of each point's turn, int [points]."""
    cycles: np.ndarray
    counts: np.ndarray
    seconds: np.ndarray
    """Of each turn, in the order in which they ran [turns]."""

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def size(self) -> int:
        """Return the number of turns."""
        return len(self.cycles)

    def value(self, name: str) -> float:
        """Return a percentile in ms (`p90`), `mean` in ms or `throughput` in inferences per second."""
        import numpy as np

        return float(self.values(name, np.ones((1, self.size), dtype=np.int64))[0])

    def values(self, name: str, times: np.ndarray) -> np.ndarray:
        """Return a value in many weightings of the turns: `times` says how often each counts, int [weightings, turns].

        A percentile is read between the points, each at the middle of the share that it stands for.
        """
        import numpy as np

        if name == "throughput":
            return np.asarray((times @ self.counts) / (times @ self.seconds))
        rows = max(1, _CHUNK // len(self.values_ms))
        return np.concatenate([self._points(name, times[at : at + rows]) for at in range(0, len(times), rows)])

    def _points(self, name: str, times: np.ndarray) -> np.ndarray:
        import numpy as np

        weights = times[:, self.turn] * self.weights
        if name == "mean":
            return np.asarray(weights @ self.values_ms / weights.sum(axis=1))
        middles = weights.cumsum(axis=1)
        wanted = middles[:, -1:] * (PER_MILLE[name] / 1000)
        middles -= weights / 2
        after = np.clip((middles < wanted).sum(axis=1), 1, len(self.values_ms) - 1)
        at, rows = (after - 1, after), np.arange(len(times))
        below, above = middles[rows, at[0]], middles[rows, at[1]]
        share = np.clip((wanted[:, 0] - below) / np.maximum(above - below, 1e-9), 0, 1)
        return np.asarray(self.values_ms[at[0]] * (1 - share) + self.values_ms[at[1]] * share)

    def of_cycles(self, cycles: np.ndarray) -> Latencies:
        """Return the part that ran in these cycles, in their order."""
        import numpy as np

        place = np.full(self.size, -1)
        for new, cycle in enumerate(cycles):
            place[np.flatnonzero(self.cycles == cycle)[0]] = new
        order, kept = np.argsort(place, kind="stable")[int((place < 0).sum()) :], place[self.turn] >= 0
        return Latencies(
            self.values_ms[kept],
            self.weights[kept],
            place[self.turn][kept],
            self.cycles[order],
            self.counts[order],
            self.seconds[order],
        )

    def merged(self, parts: int) -> Latencies:
        """Return the same with turns that followed each other put together, so that `parts` are left."""
        import numpy as np

        part = np.arange(self.size) * parts // self.size
        return Latencies(
            self.values_ms,
            self.weights,
            part[self.turn],
            np.arange(parts),
            np.bincount(part, self.counts).astype(np.int64),
            np.bincount(part, self.seconds),
        )


def latencies(measured: Measurement, folder: Path | None = None) -> Latencies | None:
    """Return the latencies of a measurement; None where neither its raw ones nor its turns are kept.

    Raw ones are read from `folder`, and are taken where they are those of the turns.
    """
    raw_ms = _raw_ms(folder / measured.raw_file) if folder is not None and measured.raw_file else None
    if raw_ms is not None and len(raw_ms) == sum(turn.count for turn in measured.turns):
        return of_raw(raw_ms, measured.turns)
    if measured.turns:
        return of_turns(measured.turns)
    if raw_ms is None or len(raw_ms) < UNKNOWN_TURNS:
        return None
    return _of_unknown_turns(raw_ms)


def of_turns(turns: Sequence[LatencyBlock]) -> Latencies:
    """Put together what a report keeps."""
    import numpy as np

    shares = np.array(SHARES)
    weights = [np.ones(one.count) if one.count <= len(SHARES) else one.count * shares for one in turns]
    return _series([np.array(one.latencies_ms) for one in turns], weights, *_columns(turns))


def of_raw(latencies_ms: np.ndarray, turns: Sequence[LatencyBlock]) -> Latencies:
    """Put together raw latencies; of the turns only their cycles, counts and seconds are used."""
    import numpy as np

    cycles, counts, seconds = _columns(turns)
    parts = np.split(latencies_ms, np.cumsum(counts)[:-1])
    return _series(parts, [np.ones(len(part)) for part in parts], cycles, counts, seconds)


def _of_unknown_turns(latencies_ms: np.ndarray) -> Latencies:
    import numpy as np

    parts = np.array_split(latencies_ms, UNKNOWN_TURNS)
    counts, seconds = np.array([len(part) for part in parts]), np.array([part.sum() / 1e3 for part in parts])
    return _series(parts, [np.ones(len(part)) for part in parts], np.arange(UNKNOWN_TURNS), counts, seconds)


def _columns(turns: Sequence[LatencyBlock]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import numpy as np

    return (
        np.array([one.cycle for one in turns]),
        np.array([one.count for one in turns]),
        np.array([one.seconds for one in turns]),
    )


def _series(
    values: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    cycles: np.ndarray,
    counts: np.ndarray,
    seconds: np.ndarray,
) -> Latencies:
    import numpy as np

    flat = np.concatenate(values)
    order = np.argsort(flat, kind="stable")
    turn = np.repeat(np.arange(len(values)), [len(part) for part in values])
    return Latencies(flat[order], np.concatenate(weights)[order], turn[order], cycles, counts, seconds)


def _raw_ms(path: Path) -> np.ndarray | None:
    """Read raw latencies, nanoseconds one a line; None where there are none."""
    import numpy as np

    if not path.is_file():
        return None
    try:
        return np.array(path.read_text().split(), dtype=np.int64) / 1e6
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the latencies in '{path}': {error}.") from error
