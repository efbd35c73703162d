"""Latencies like those of this machine, generated from a seed: the truth is known, and a thousand runs take a second.

Fitted by hand to single-threaded runs of the digits model on two cores of a virtual server: a turn's level wanders
(a first-order autoregression, and a random walk of the machine's that all models of a run share), single latencies lie
above it with a long tail, and now and then a burst of interruptions fills a turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.bench import Round
from edgekit.bench.latency_blocks import blocks, cycles_per_block
from edgekit.result.measurement import Measurement, Noise


@dataclass(frozen=True)
class Machine:
    base_ms: float = 0.3
    wander: float = 0.01
    """Standard deviation of a turn's level, of the model's own, as a share."""
    memory: float = 0.4
    """How much of a turn's level the next one keeps."""
    drift: float = 0.03
    """By how much the machine drifts in a run, and between two runs."""
    spread: float = 0.04
    tail: float = 0.02
    """Share of latencies that were interrupted."""
    bursts: float = 0.05
    """Share of rounds in which six times as many were."""

    def common(self, seed: int, cycles: int) -> np.ndarray:
        """Return the level of the machine in each cycle of a run, in logarithms."""
        generator = np.random.default_rng((seed, 0))
        walk = np.cumsum(generator.normal(0, self.drift / np.sqrt(cycles), cycles))
        return generator.normal(0, self.drift) + walk

    def measure(self, common: np.ndarray, seed: int, *, slower: float = 0.0, per_turn: int = 120) -> Measurement:
        """Measure one model in a run; `slower` is the share of its latency that every inference takes longer."""
        generator = np.random.default_rng((seed, 1))
        own, level = np.empty(len(common)), generator.normal(0, self.wander)
        for place in range(len(common)):
            fresh = generator.normal(0, self.wander * np.sqrt(1 - self.memory**2))
            level = own[place] = self.memory * level + fresh
        shape = (len(common), per_turn)
        levels = self.base_ms * (1 + slower) * np.exp(common + own)
        times = levels[:, None] * np.exp(np.abs(generator.normal(0, self.spread, shape)))
        share = np.where(generator.random(len(common)) < self.bursts, 6, 1)[:, None] * self.tail
        times *= np.where(generator.random(shape) < share, generator.uniform(1.2, 6, shape), 1)
        return measurement(times)


def measurement(latencies_ms: np.ndarray) -> Measurement:
    """Return the measurement of these latencies [turns, inferences]."""
    from edgekit.bench.percentile import percentiles_ms

    raw = (latencies_ms * 1e6).astype(np.int64)
    rounds = [Round(n, len(turn), float(turn.sum()) / 1e9, float(np.median(turn))) for n, turn in enumerate(raw)]
    seconds = sum(timed.seconds for timed in rounds)
    return Measurement(
        scenario="single-stream",
        warmup_count=100,
        converged=True,
        count=raw.size,
        seconds=seconds,
        percentiles_ms=percentiles_ms(raw.reshape(-1)),
        mean_ms=float(latencies_ms.mean()),
        throughput_per_s=raw.size / seconds,
        peak_memory_mb=70.0,
        cold_start=None,
        noise=Noise(False),
        shapes={"x": (1, 1, 28, 28)},
        threads=1,
        turns=blocks(raw.reshape(-1), rounds, cycles_per_block(len(rounds)), per_round=True),
    )
