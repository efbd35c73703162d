"""Measure models interleaved: each in its own process, one running at a time, in an order that rotates.

Changes during the measurement (clocks, heat, other programs) then affect all models equally, so that a difference is
the models' own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import sensors
from edgekit.bench import end_to_end, generation, noise, summary
from edgekit.bench.environment import emulated
from edgekit.bench.latency_blocks import blocks, cycles_per_block
from edgekit.bench.outcome import Entry, Outcome, Round, Settings
from edgekit.bench.process import Worker
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.plugin import LayerTime
from edgekit.progress import Progress, Silent
from edgekit.result.generation_times import GenerationTimes
from edgekit.result.measurement import UNITS, EndToEnd, Measurement, Pace
from edgekit.runner import Program, trace_of
from edgekit.sensors import SensorSet
from edgekit.sensors.sampler import Sampler
from edgekit.target import host

if TYPE_CHECKING:
    import numpy as np

PACED_S = 10.0
"""The longest round of a schedule: progress is reported after each."""

END_TO_END_S = 10.0
"""The longest time for the measurement from end to end, and for that of generation; they have no rounds."""


@dataclass
class _Run:
    """The state of one entry: its process, the answers of that, and the fault that ended it."""

    entry: Entry
    worker: Worker
    opened: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    tally: noise.Tally = field(default_factory=noise.Tally)
    left: int = 0
    """Arrivals of a schedule that were never run."""
    fault: EdgekitError | None = None

    @property
    def count(self) -> int:
        return sum(timed.count for timed in self.rounds)

    @property
    def seconds(self) -> float:
        return sum(timed.seconds for timed in self.rounds)

    def share_done(self, settings: Settings) -> float:
        """Return the share of the measurement that is done, 0 to 1; a fault ends it."""
        if self.fault is not None:
            return 1.0
        enough = min(
            self.count / settings.min_count, self.seconds / settings.min_seconds if settings.min_seconds else 1
        )
        return min(1.0, max(enough, self.seconds / settings.max_seconds))


def benchmark(
    entries: Sequence[Entry],
    settings: Settings | None = None,
    progress: Progress | None = None,
    *,
    sensor_set: SensorSet | None = None,
) -> list[Outcome]:
    """Measure every entry and return the outcomes in the same order; one entry's fault does not end the others.

    The rounds of several entries are interleaved, the idle processes are stopped, and `faster` can compare them; in the
    scenario `sustained` each runs its minutes in one piece, one after the other. All models are in memory at once.
    `sensor_set` is what `settings.sample_s` reads, by default this machine's sensors. Raises UsageError for two entries
    of one name. Interrupted, it leaves no process and no file behind.
    """
    settings = settings or Settings()
    progress = progress or Silent()
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two entries are named '{name}'.", hint="give each bundle once")
    with contextlib.ExitStack() as stack:
        # Pushed one by one, so that an interruption while starting the third ends the first two.
        runs = [_Run(entry, stack.enter_context(Worker(entry.backend, python=entry.python))) for entry in entries]
        sampler = None
        if settings.sample_s is not None:
            sampler = stack.enter_context(Sampler(sensor_set or _sensor_set(), settings.sample_s))
        _prepare(runs, settings, progress)
        _measure(runs, settings, progress)
        cycles = 1 + max((timed.cycle for run in runs for timed in run.rounds), default=0)
        paired = len(runs) > 1 and settings.scenario != "sustained"
        return [_finish(run, settings, sampler, cycles_per_block(cycles), paired) for run in runs]


def _sensor_set() -> SensorSet:
    """Return this machine's sensors. An emulated machine shows those of its host, which are not its own."""
    if emulated():
        return SensorSet(Path("/"), absent=dict.fromkeys(UNITS, "this machine is emulated"))
    return sensors.find(virtual=host.probe().virtual)


def _prepare(runs: Sequence[_Run], settings: Settings, progress: Progress) -> None:
    """Load and warm every model, one after the other."""
    with progress.step("load and warm up", len(runs)) as tick:
        for run in runs:
            with _running(run):
                run.opened = run.worker.open(run.entry.payload, run.entry.arrays(), streams=settings.streams)
                run.warmed = run.worker.warm(
                    min_seconds=settings.warmup_min_seconds, max_seconds=settings.warmup_max_seconds
                )
            if len(runs) > 1:
                run.worker.pause()
            tick(1, run.entry.name)


def _measure(runs: Sequence[_Run], settings: Settings, progress: Progress) -> None:
    """Run one round of each model per cycle until all are done; cycle n starts with model n.

    Sustained runs are not interleaved.
    """
    done = 0
    groups = [[run] for run in runs] if settings.scenario == "sustained" else [runs]
    with progress.step("measure", 100 * len(runs)) as tick:
        for group in groups:
            cycle = 0
            if len(group) == 1:
                group[0].worker.resume()
            while any(run.share_done(settings) < 1 for run in group):
                first = cycle % len(group)
                for run in (*group[first:], *group[:first]):
                    if run.share_done(settings) < 1:
                        _round(run, cycle, settings, alone=len(group) == 1)
                        total = int(sum(100 * other.share_done(settings) for other in runs))
                        tick(total - done, run.entry.name)
                        done = total
                cycle += 1
            if len(runs) > 1:
                group[0].worker.pause()


def _round(run: _Run, cycle: int, settings: Settings, *, alone: bool) -> None:
    length_ms, median_ms = _round_ms(run, settings, alone=alone), run.warmed["median_ns"] / 1e6
    # A model that takes a round or longer gets no lead-in: it would double its time, and its first call is as fast as
    # its second.
    lead_in_ms = 0.0 if alone or median_ms >= length_ms else settings.lead_in_ms
    if not alone:
        run.worker.resume()
    with _running(run):
        own, began, before = time.process_time(), time.monotonic(), noise.read()
        period_ms = 1e3 / settings.rate_per_s if settings.rate_per_s else None
        timed = run.worker.round(length_ms, lead_in_ms=lead_in_ms, period_ms=period_ms)
        after = noise.read()
        run.tally.add(
            before,
            after,
            own=timed["cpu_seconds"] + time.process_time() - own,
            seconds=time.monotonic() - began,
            preempted=timed["preempted"],
        )
        run.rounds.append(Round(cycle, timed["count"], timed["seconds"], timed["median_ns"], timed["began_s"]))
        run.left += timed["left"]
    if not alone:
        run.worker.pause()


def _round_ms(run: _Run, settings: Settings, *, alone: bool) -> float:
    """Return the length of a round in milliseconds.

    A schedule needs long rounds, as its queue is empty at the start of each. Several streams end one by one, so their
    rounds have twenty inferences of each stream, to make that negligible.
    """
    if settings.rate_per_s is not None:
        whole_s = min(max(settings.min_seconds, settings.min_count / settings.rate_per_s), settings.max_seconds)
        return 1e3 * min(whole_s, PACED_S if alone else max(1.0, 10 / settings.rate_per_s))
    if settings.streams > 1:
        return max(settings.round_ms, 20 * settings.streams * float(run.warmed["median_ns"]) / 1e6)
    return settings.round_ms


@contextlib.contextmanager
def _running(run: _Run) -> Iterator[None]:
    """Keep an EdgekitError as the run's fault, and end its process."""
    try:
        yield
    except EdgekitError as error:
        run.fault = error
        run.worker.kill()


def _finish(run: _Run, settings: Settings, sampler: Sampler | None, block_cycles: int, paired: bool) -> Outcome:
    """Query the process for the rest of the measurement, end it, and return the outcome."""
    import numpy as np

    notes: list[str] = []
    layers: tuple[LayerTime, ...] = ()
    with _running(run):
        if run.fault is None:
            run.worker.resume()
            latencies = run.worker.latencies_ns()
            measurement = _measurement(run, settings, latencies, sampler, notes)
            turns = blocks(latencies, run.rounds, block_cycles, per_round=paired)
            measurement = replace(measurement, turns=turns)
            if settings.profile:
                try:
                    layers = run.worker.profile(run.entry.arrays())
                except UnsupportedError as error:
                    notes.append(f"no layer times: {error.message}")
            run.worker.close()
            return Outcome(run.entry.name, measurement, latencies, tuple(run.rounds), layers, tuple(notes))
    return Outcome(run.entry.name, None, np.empty(0, dtype=np.int64), tuple(run.rounds), fault=run.fault)


def _measurement(
    run: _Run, settings: Settings, latencies: np.ndarray, sampler: Sampler | None, notes: list[str]
) -> Measurement:
    # Memory first: reporting precision and layers may load the model once more.
    memory_mb = run.worker.peak_memory_mb()
    precision = None
    try:
        precision = run.worker.precision()
    except UnsupportedError as error:
        notes.append(f"no effective precision: {error.message}")
    pace: Pace | None = None
    if settings.rate_per_s is not None:
        pace = summary.pace(settings, latencies, run.worker.service_ns(), run.left)
    seconds = min(settings.min_seconds, settings.max_seconds, END_TO_END_S)
    tokens: GenerationTimes | None = None
    if generation.generates(fed := run.entry.arrays()):
        size_mb = generation.read_mb(Program.of(run.entry.payload), trace_of(fed)[-1][0])
        memory = size_mb >= generation.BEYOND_CACHES_MB
        times, speed = run.worker.generation(fed, seconds=seconds, memory=memory)
        tokens = generation.summarise(times, fed, size_mb, speed)
    from_end_to_end: EndToEnd | None = None
    if (raw := run.entry.raw) is not None:
        parts = run.worker.end_to_end(end_to_end.plain(raw), seconds=seconds)
        from_end_to_end = end_to_end.summarise(parts, raw.name)
    several = len(Program.of(run.entry.payload).payloads) > 1
    part_times = run.worker.part_times(run.entry.arrays()) if several else ()
    measured = summary.measurement(
        run.entry,
        settings,
        run.rounds,
        latencies,
        opened=run.opened,
        warmed=run.warmed,
        noise=run.tally.verdict([timed.median_ns for timed in run.rounds]),
        memory_mb=memory_mb,
        precision=precision,
        pace=pace,
        end_to_end=from_end_to_end,
        generation=tokens,
        sampler=sampler,
    )
    return replace(measured, parts=part_times)
