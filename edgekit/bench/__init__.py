"""Measure compiled models: in their own processes, warm, by turns, with every raw latency kept and the noise told."""

from __future__ import annotations

from edgekit.bench.comparison import LEAST_PAIRS, Comparison, faster
from edgekit.bench.environment import environment
from edgekit.bench.outcome import Entry, Outcome, RawSample, Round, Settings
from edgekit.bench.process import Worker
from edgekit.bench.scenario import Load
from edgekit.bench.schedule import benchmark

__all__ = [
    "LEAST_PAIRS",
    "Comparison",
    "Entry",
    "Load",
    "Outcome",
    "RawSample",
    "Round",
    "Settings",
    "Worker",
    "benchmark",
    "environment",
    "faster",
]
