"""Measure models by turns: each in its own process, one running at a time, in an order that rotates.

What changes while we measure (clocks, heat, neighbours) then falls on every model alike, and their difference is their
own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekit.bench import noise
from edgekit.bench.outcome import BATCHED, SCENARIO, Entry, Outcome, Round, Settings, summarise
from edgekit.bench.process import Worker
from edgekit.bench.spread import stride, turns
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.measurement import ColdStart, Measurement
from edgekit.plugin import LayerTime, Precision
from edgekit.progress import Progress, Silent

if TYPE_CHECKING:
    import numpy as np


@dataclass
class _Run:
    """One entry on its way: its process, what it told, and the fault that ended it."""

    entry: Entry
    worker: Worker
    opened: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    tally: noise.Tally = field(default_factory=noise.Tally)
    fault: EdgekitError | None = None

    @property
    def count(self) -> int:
        return sum(one.count for one in self.rounds)

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.rounds)

    def share_done(self, settings: Settings) -> float:
        """Give how much of the measuring is done, 0 to 1; what ended by a fault is done."""
        if self.fault is not None:
            return 1.0
        enough = min(
            self.count / settings.min_count, self.seconds / settings.min_seconds if settings.min_seconds else 1
        )
        return min(1.0, max(enough, self.seconds / settings.max_seconds))


def benchmark(
    entries: Sequence[Entry], settings: Settings | None = None, progress: Progress | None = None
) -> list[Outcome]:
    """Measure every entry and give the outcomes in the same order; one entry's fault does not end the others.

    With several entries their rounds take turns, the idle processes are stopped, and `faster` can compare them. All
    models are in memory at once. Raises UsageError for two entries of one name. Interrupted, it leaves no process and
    no file behind.
    """
    settings = settings or Settings()
    progress = progress or Silent()
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two entries are named '{name}'.")
    with contextlib.ExitStack() as stack:
        # Pushed one by one, so that an interruption while starting the third ends the first two.
        runs = [_Run(entry, stack.enter_context(Worker(entry.backend, python=entry.python))) for entry in entries]
        _prepare(runs, settings, progress)
        _take_turns(runs, settings, progress)
        cycles = 1 + max((one.cycle for run in runs for one in run.rounds), default=0)
        return [_finish(run, settings, stride(cycles), len(runs) > 1) for run in runs]


def _prepare(runs: Sequence[_Run], settings: Settings, progress: Progress) -> None:
    """Load and warm every model, one after the other."""
    with progress.step("load and warm up", len(runs)) as tick:
        for run in runs:
            with _running(run):
                run.opened = run.worker.open(run.entry.payload, run.entry.arrays())
                run.warmed = run.worker.warm(
                    min_seconds=settings.warmup_min_seconds, max_seconds=settings.warmup_max_seconds
                )
            if len(runs) > 1:
                run.worker.pause()
            tick(1, run.entry.name)


def _take_turns(runs: Sequence[_Run], settings: Settings, progress: Progress) -> None:
    """Give each model a round a cycle until all are done; cycle n starts with model n."""
    done = 0
    with progress.step("measure", 100 * len(runs)) as tick:
        cycle = 0
        while any(run.share_done(settings) < 1 for run in runs):
            first = cycle % len(runs)
            for run in (*runs[first:], *runs[:first]):
                if run.share_done(settings) < 1:
                    _round(run, cycle, settings, alone=len(runs) == 1)
                    now = int(sum(100 * one.share_done(settings) for one in runs))
                    tick(now - done, run.entry.name)
                    done = now
            cycle += 1


def _round(run: _Run, cycle: int, settings: Settings, *, alone: bool) -> None:
    # A model of a round or longer gets no lead-in: it would double its time, and its first call is as good as its
    # second.
    lead_in_ms = 0.0 if alone or run.warmed["median_ns"] / 1e6 >= settings.round_ms else settings.lead_in_ms
    if not alone:
        run.worker.resume()
    with _running(run):
        own, began, before = time.process_time(), time.monotonic(), noise.read()
        told = run.worker.round(settings.round_ms, lead_in_ms=lead_in_ms)
        after = noise.read()
        run.tally.add(
            before,
            after,
            own=told["cpu_seconds"] + time.process_time() - own,
            seconds=time.monotonic() - began,
            preempted=told["preempted"],
        )
        run.rounds.append(Round(cycle, told["count"], told["seconds"], told["median_ns"]))
    if not alone:
        run.worker.pause()


@contextlib.contextmanager
def _running(run: _Run) -> Iterator[None]:
    """Keep an EdgekitError as the run's fault, and end its process."""
    try:
        yield
    except EdgekitError as error:
        run.fault = error
        run.worker.kill()


def _finish(run: _Run, settings: Settings, every: int, paired: bool) -> Outcome:
    """Ask what is left to ask, end the process and put the outcome together."""
    import numpy as np

    nothing = np.empty(0, dtype=np.int64)
    notes: list[str] = []
    layers: tuple[LayerTime, ...] = ()
    measurement = None
    with _running(run):
        if run.fault is None:
            run.worker.resume()
            latencies = run.worker.latencies_ns()
            # Memory first: telling precision and layers may load the model once more.
            memory_mb = run.worker.peak_memory_mb()
            precision = None
            try:
                precision = run.worker.precision()
            except UnsupportedError as error:
                notes.append(f"no effective precision: {error.message}")
            measurement = replace(
                _measurement(run, latencies, settings, memory_mb, precision),
                turns=turns(latencies, run.rounds, every, single=paired),
            )
            if settings.profile:
                try:
                    layers = run.worker.profile(run.entry.arrays())
                except UnsupportedError as error:
                    notes.append(f"no layer times: {error.message}")
            run.worker.close()
            return Outcome(run.entry.name, measurement, latencies, tuple(run.rounds), layers, tuple(notes))
    return Outcome(run.entry.name, None, nothing, tuple(run.rounds), fault=run.fault)


def _measurement(
    run: _Run, latencies: np.ndarray, settings: Settings, memory_mb: float | None, precision: Precision | None
) -> Measurement:
    found = summarise(latencies, run.rounds)
    opened = run.opened
    return Measurement(
        scenario=SCENARIO if run.entry.batch == 1 else BATCHED,
        warmup_count=int(run.warmed["count"]),
        converged=bool(run.warmed["converged"]),
        count=found.count,
        seconds=found.seconds,
        percentiles_ms=found.percentiles_ms,
        mean_ms=found.mean_ms,
        throughput_per_s=found.throughput_per_s * run.entry.batch,
        peak_memory_mb=memory_mb,
        cold_start=ColdStart.from_dict(opened["cold_start"]) if settings.cold_start else None,
        noise=run.tally.verdict([one.median_ns for one in run.rounds]),
        shapes={name: tuple(shape) for name, shape in opened["shapes"].items()},
        threads=opened["threads"],
        precision=precision,
        batch=run.entry.batch,
    )
