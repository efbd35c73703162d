"""The resources that this process used: time of imports, processor time, memory.

Standard library only, because the measuring process imports it.
"""

from __future__ import annotations

import builtins
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def import_clock() -> Iterator[Callable[[], int]]:
    """Count the nanoseconds that import statements take in the block; the yielded function returns them."""
    real, depth, spent = builtins.__import__, 0, 0

    def timed(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        nonlocal depth, spent
        depth += 1
        began = time.perf_counter_ns()
        try:
            return real(name, globals, locals, fromlist, level)
        finally:
            depth -= 1
            if depth == 0:
                spent += time.perf_counter_ns() - began

    builtins.__import__ = timed
    try:
        yield lambda: spent
    finally:
        builtins.__import__ = real


def used() -> tuple[float, int]:
    """Return the processor seconds of this process, of all threads, and how often it was pre-empted."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_nivcsw


def peak_memory_mb() -> float | None:
    """Return the peak of resident memory of this process, in MB of 10^6 bytes; None where it is not counted."""
    # VmHWM and not ru_maxrss: the latter survives exec, so a large parent would be counted as ours.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None
