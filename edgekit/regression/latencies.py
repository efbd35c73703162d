"""The latencies of one measurement, in blocks: the raw ones where they are kept, else those that the report keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bench.percentile import PER_MILLE
from edgekit.report import plot
from edgekit.result.latency_block import SHARES, LatencyBlock
from edgekit.result.measurement import Measurement

if TYPE_CHECKING:
    import numpy as np

UNKNOWN_BLOCKS = 20
"""Number of equal blocks into which raw latencies are cut where the report does not keep the blocks."""


_CHUNK = 2_000_000
"""Number of points that are weighted at once: 16 MB."""


@dataclass(frozen=True)
class Latencies:
    """Latencies with the block that each belongs to."""

    values_ms: np.ndarray
    """Ascending, float [points]."""
    weights: np.ndarray
    """How many latencies each point stands for, float [points]."""
    block: np.ndarray
    """The index of each point's block, int [points]."""
    cycles: np.ndarray
    counts: np.ndarray
    seconds: np.ndarray
    """`cycles`, `counts` and `seconds` of each block, in the order in which they ran [blocks]."""

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def size(self) -> int:
        """The number of blocks."""
        return len(self.cycles)

    def value(self, name: str) -> float:
        """Return a percentile in ms (`p90`), `mean` in ms or `throughput` in inferences per second."""
        import numpy as np

        return float(self.values(name, np.ones((1, self.size), dtype=np.int64))[0])

    def values(self, name: str, times: np.ndarray) -> np.ndarray:
        """Return the value for each weighting of the blocks, float [weightings]; `times` is how often each block
        counts, int [weightings, blocks].

        A percentile is interpolated between the points, each at the middle of the share that it stands for.
        """
        import numpy as np

        if name == "throughput":
            return np.asarray((times @ self.counts) / (times @ self.seconds))
        rows = max(1, _CHUNK // len(self.values_ms))
        return np.concatenate([self._points(name, times[at : at + rows]) for at in range(0, len(times), rows)])

    def _points(self, name: str, times: np.ndarray) -> np.ndarray:
        import numpy as np

        weights = times[:, self.block] * self.weights
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
        """Return the blocks of these cycles, in the order of `cycles`."""
        import numpy as np

        place = np.full(self.size, -1)
        for new, cycle in enumerate(cycles):
            place[np.flatnonzero(self.cycles == cycle)[0]] = new
        order, kept = np.argsort(place, kind="stable")[int((place < 0).sum()) :], place[self.block] >= 0
        return Latencies(
            self.values_ms[kept],
            self.weights[kept],
            place[self.block][kept],
            self.cycles[order],
            self.counts[order],
            self.seconds[order],
        )

    def merged(self, parts: int) -> Latencies:
        """Return the same latencies with consecutive blocks joined, so that `parts` blocks are left."""
        import numpy as np

        part = np.arange(self.size) * parts // self.size
        return Latencies(
            self.values_ms,
            self.weights,
            part[self.block],
            np.arange(parts),
            np.bincount(part, self.counts).astype(np.int64),
            np.bincount(part, self.seconds),
        )


def latencies(measured: Measurement, folder: Path | None = None) -> Latencies | None:
    """Return the latencies of a measurement; None where neither the raw ones nor blocks are kept.

    Raw latencies are read from `folder` and used where there are as many as in the blocks.
    """
    import numpy as np

    raw = plot.read_latencies(folder, measured.raw_file)
    raw_ms = np.array(raw) if raw else None
    if raw_ms is not None and len(raw_ms) == sum(block.count for block in measured.turns):
        return of_raw(raw_ms, measured.turns)
    if measured.turns:
        return of_blocks(measured.turns)
    if raw_ms is None or len(raw_ms) < UNKNOWN_BLOCKS:
        return None
    return _of_unknown_blocks(raw_ms)


def of_blocks(blocks: Sequence[LatencyBlock]) -> Latencies:
    """Return the latencies that a report keeps."""
    import numpy as np

    shares = np.array(SHARES)
    weights = [np.ones(block.count) if block.count <= len(SHARES) else block.count * shares for block in blocks]
    return _series([np.array(block.latencies_ms) for block in blocks], weights, *_columns(blocks))


def of_raw(latencies_ms: np.ndarray, blocks: Sequence[LatencyBlock]) -> Latencies:
    """Return raw latencies, with the cycles, counts and seconds of the blocks."""
    import numpy as np

    cycles, counts, seconds = _columns(blocks)
    parts = np.split(latencies_ms, np.cumsum(counts)[:-1])
    return _series(parts, [np.ones(len(part)) for part in parts], cycles, counts, seconds)


def _of_unknown_blocks(latencies_ms: np.ndarray) -> Latencies:
    import numpy as np

    parts = np.array_split(latencies_ms, UNKNOWN_BLOCKS)
    counts, seconds = np.array([len(part) for part in parts]), np.array([part.sum() / 1e3 for part in parts])
    return _series(parts, [np.ones(len(part)) for part in parts], np.arange(UNKNOWN_BLOCKS), counts, seconds)


def _columns(blocks: Sequence[LatencyBlock]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import numpy as np

    return (
        np.array([block.cycle for block in blocks]),
        np.array([block.count for block in blocks]),
        np.array([block.seconds for block in blocks]),
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
    block = np.repeat(np.arange(len(values)), [len(part) for part in values])
    return Latencies(flat[order], np.concatenate(weights)[order], block[order], cycles, counts, seconds)
