"""Measure compiled models: each in its own process, warm, interleaved, with all raw latencies and a check for noise."""

from __future__ import annotations

from edgekit.bench.comparison import LEAST_PAIRS, Comparison, faster
from edgekit.bench.environment import environment
from edgekit.bench.outcome import Entry, Outcome, RawSample, Round, Settings
from edgekit.bench.process import Worker
from edgekit.bench.scenario import Workload
from edgekit.bench.schedule import benchmark

__all__ = [
    "LEAST_PAIRS",
    "Comparison",
    "Entry",
    "Outcome",
    "RawSample",
    "Round",
    "Settings",
    "Worker",
    "Workload",
    "benchmark",
    "environment",
    "faster",
]
