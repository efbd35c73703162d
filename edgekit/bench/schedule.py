"""Measure models by turns: each in its own process, one running at a time, in an order that rotates.

What changes while we measure (clocks, heat, neighbours) then falls on every model alike, and their difference is their
own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import sensors
from edgekit.bench import end_to_end, noise, summary
from edgekit.bench.environment import emulated
from edgekit.bench.latency_blocks import stride, turns
from edgekit.bench.outcome import Entry, Outcome, Round, Settings
from edgekit.bench.process import Worker
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.plugin import LayerTime
from edgekit.progress import Progress, Silent
from edgekit.result.measurement import UNITS, EndToEnd, Measurement, Pace
from edgekit.sensors import SensorSet
from edgekit.sensors.sampler import Sampler
from edgekit.target import host

if TYPE_CHECKING:
    import numpy as np

PACED_S = 10.0
"""The longest round of a schedule: the progress tells after each."""

END_TO_END_S = 10.0
"""The longest time for the measurement from end to end; it has no rounds."""


@dataclass
class _Run:
    """One entry on its way: its process, what it told, and the fault that ended it."""

    entry: Entry
    worker: Worker
    opened: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    tally: noise.Tally = field(default_factory=noise.Tally)
    left: int = 0
    """Arrivals of a schedule that were given up."""
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
    entries: Sequence[Entry],
    settings: Settings | None = None,
    progress: Progress | None = None,
    *,
    sensor_set: SensorSet | None = None,
) -> list[Outcome]:
    """Measure every entry and give the outcomes in the same order; one entry's fault does not end the others.

    With several entries their rounds take turns, the idle processes are stopped, and `faster` can compare them; in the
    scenario `sustained` each has its minutes in one piece, one after the other. All models are in memory at once.
    `sensor_set` is what `settings.sample_s` reads, by default this machine's sensors. Raises UsageError for two entries
    of one name. Interrupted, it leaves no process and no file behind.
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
        sampler = None
        if settings.sample_s is not None:
            sampler = stack.enter_context(Sampler(sensor_set or _sensor_set(), settings.sample_s))
        _prepare(runs, settings, progress)
        _take_turns(runs, settings, progress)
        cycles = 1 + max((one.cycle for run in runs for one in run.rounds), default=0)
        paired = len(runs) > 1 and settings.scenario != "sustained"
        return [_finish(run, settings, sampler, stride(cycles), paired) for run in runs]


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


def _take_turns(runs: Sequence[_Run], settings: Settings, progress: Progress) -> None:
    """Give each model a round a cycle until all are done; cycle n starts with model n. Minutes are not shared."""
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
                        now = int(sum(100 * one.share_done(settings) for one in runs))
                        tick(now - done, run.entry.name)
                        done = now
                cycle += 1
            if len(runs) > 1:
                group[0].worker.pause()


def _round(run: _Run, cycle: int, settings: Settings, *, alone: bool) -> None:
    length_ms, median_ms = _round_ms(run, settings, alone=alone), run.warmed["median_ns"] / 1e6
    # A model of a round or longer gets no lead-in: it would double its time, and its first call is as good as its
    # second.
    lead_in_ms = 0.0 if alone or median_ms >= length_ms else settings.lead_in_ms
    if not alone:
        run.worker.resume()
    with _running(run):
        own, began, before = time.process_time(), time.monotonic(), noise.read()
        period_ms = 1e3 / settings.rate_per_s if settings.rate_per_s else None
        told = run.worker.round(length_ms, lead_in_ms=lead_in_ms, period_ms=period_ms)
        after = noise.read()
        run.tally.add(
            before,
            after,
            own=told["cpu_seconds"] + time.process_time() - own,
            seconds=time.monotonic() - began,
            preempted=told["preempted"],
        )
        run.rounds.append(Round(cycle, told["count"], told["seconds"], told["median_ns"], told["began_s"]))
        run.left += told["left"]
    if not alone:
        run.worker.pause()


def _round_ms(run: _Run, settings: Settings, *, alone: bool) -> float:
    """Give the length of a round.

    A schedule needs long ones, as its queue is empty at the start of each. Several streams end one by one, so theirs
    hold twenty inferences of each stream for that to count little.
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


def _finish(run: _Run, settings: Settings, sampler: Sampler | None, every: int, paired: bool) -> Outcome:
    """Ask what is left to ask, end the process and put the outcome together."""
    import numpy as np

    nothing = np.empty(0, dtype=np.int64)
    notes: list[str] = []
    layers: tuple[LayerTime, ...] = ()
    with _running(run):
        if run.fault is None:
            run.worker.resume()
            latencies = run.worker.latencies_ns()
            found = _ask(run, settings, latencies, sampler, notes)
            found = replace(found, turns=turns(latencies, run.rounds, every, single=paired))
            if settings.profile:
                try:
                    layers = run.worker.profile(run.entry.arrays())
                except UnsupportedError as error:
                    notes.append(f"no layer times: {error.message}")
            run.worker.close()
            return Outcome(run.entry.name, found, latencies, tuple(run.rounds), layers, tuple(notes))
    return Outcome(run.entry.name, None, nothing, tuple(run.rounds), fault=run.fault)


def _ask(
    run: _Run, settings: Settings, latencies: np.ndarray, sampler: Sampler | None, notes: list[str]
) -> Measurement:
    # Memory first: telling precision and layers may load the model once more.
    memory_mb = run.worker.peak_memory_mb()
    precision = None
    try:
        precision = run.worker.precision()
    except UnsupportedError as error:
        notes.append(f"no effective precision: {error.message}")
    pace: Pace | None = None
    if settings.rate_per_s is not None:
        pace = summary.pace(settings, latencies, run.worker.service_ns(), run.left)
    whole: EndToEnd | None = None
    if (raw := run.entry.raw) is not None:
        seconds = min(settings.min_seconds, settings.max_seconds, END_TO_END_S)
        parts = run.worker.end_to_end(end_to_end.plain(raw), seconds=seconds)
        whole = end_to_end.summarise(parts, raw.name)
    return summary.measurement(
        run.entry,
        settings,
        run.rounds,
        latencies,
        opened=run.opened,
        warmed=run.warmed,
        noise=run.tally.verdict([one.median_ns for one in run.rounds]),
        memory_mb=memory_mb,
        precision=precision,
        pace=pace,
        end_to_end=whole,
        sampler=sampler,
    )
