"""Time each call of a sample's trace: how long the first token takes, and how long each of those after it."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.result.generation_times import GenerationTimes
from edgekit.runner import Fed, Program, Runner, trace_of
from edgekit.spec import DECODER, Call

if TYPE_CHECKING:
    import numpy as np

LEAST_COUNT = 3
"""The runs of the slowest model."""

IDS = "input_ids"

BEYOND_CACHES_MB = 64
"""Weights of this size are read from memory at each token, and not from the processor's caches."""

READ_MB = 128
"""What is read to measure how fast memory is."""


def generates(fed: Fed) -> bool:
    """Return whether the calls are those of a decoder, which gives a token each."""
    return any(part == DECODER for part, _ in trace_of(fed))


def run(runner: Runner, trace: Sequence[Call], seconds: float, file: Path) -> None:
    """Run the trace repeatedly for `seconds`, and at least three times, after once to warm up.

    Appends the nanoseconds of each call to `file`, as native int64, run after run.
    """
    clock, times, count = time.perf_counter_ns, array("q"), 0
    runner.replay(trace)
    start = clock()
    while count < LEAST_COUNT or clock() - start < seconds * 1e9:
        run_part = runner.start()
        for part, feeds in trace:
            before = clock()
            run_part(part, feeds)
            times.append(clock() - before)
        count += 1
    with file.open("ab") as raw:
        times.tofile(raw)


def memory_gb_per_s() -> float | None:
    """Return how fast this machine's processor reads memory, all its cores together; None where memory is short."""
    import numpy as np

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        values = np.ones(READ_MB * 1_000_000 // 8, np.uint64)
    except MemoryError:
        return None
    seconds = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.maximum.reduce, np.array_split(values, cores)))
            seconds.append(time.perf_counter() - start)
    return values.nbytes / min(seconds) / 1e9


def read_mb(program: Program, part: str) -> float:
    """Return the size of a part's files."""
    payload = next(each for each in program.payloads if each.part.name == part)
    return sum((payload.folder / name).stat().st_size for name in payload.files) / 1e6


def summarise(times_ns: np.ndarray, fed: Fed, read: float, memory: float | None) -> GenerationTimes:
    """Return the summary of the times of each call, int64 [runs, calls]; `read` is in MB, `memory` in GB a second."""
    import numpy as np

    trace = trace_of(fed)
    first = [part for part, _ in trace].index(DECODER)
    prompt = trace[0][1].get(IDS)
    after = times_ns[:, first + 1 :]
    return GenerationTimes(
        count=len(times_ns),
        tokens=len(trace) - first,
        first_token_ms=float(np.median(times_ns[:, : first + 1].sum(axis=1))) / 1e6,
        token_ms=float(np.median(after)) / 1e6 if after.size else None,
        tokens_per_s=float(after.shape[1] / np.median(after.sum(axis=1)) * 1e9) if after.size else None,
        prompt_tokens=None if prompt is None else int(prompt.shape[-1]),
        read_mb=read or None,
        memory_gb_per_s=memory,
    )
