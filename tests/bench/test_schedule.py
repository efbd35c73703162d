"""Interleaved measurements: real processes, short rounds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench import Entry, Settings, benchmark, faster, schedule
from edgekit.bench.percentile import least_count
from edgekit.errors import ArtifactError, DeviceError, UsageError
from edgekit.result.measurement import Measurement
from tests.measuring import undisturbed
from tests.wording import raises

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


class Recorder:
    """A progress that records its steps."""

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}
        self.totals: dict[str, int | None] = {}

    @contextmanager
    def step(self, title, total=None):
        ticks = self.steps[title] = []
        self.totals[title] = total
        yield lambda count=1, detail="": ticks.append(count)

    def note(self, text):
        pass


def test_one_entry_is_the_plain_benchmark(entry, quick):
    progress = Recorder()
    (outcome,) = benchmark([entry(sleep_ms=2)], quick, progress)
    measurement = outcome.measurement
    assert outcome.ok and measurement.scenario == "single-stream"
    assert measurement.count == len(outcome.latencies_ns) >= quick.min_count
    assert measurement.seconds >= quick.min_seconds and measurement.seconds == sum(
        timed.seconds for timed in outcome.rounds
    )
    assert outcome.latencies_ns.min() > 2_000_000, "the sleep of 2 ms is in every latency"
    assert measurement.throughput_per_s == pytest.approx(measurement.count / measurement.seconds)
    assert measurement.mean_ms == pytest.approx(outcome.latencies_ns.mean() / 1e6)
    assert set(measurement.percentiles_ms) == {
        name for name in ("p50", "p90", "p95", "p99") if measurement.count >= least_count(float(name[1:]) / 100)
    }
    assert measurement.shapes == {"x": (1, 64)} and measurement.threads == 1 and measurement.precision.main == "f32"
    assert measurement.peak_memory_mb > 5 and measurement.warmup_count > 0
    assert measurement.cold_start.import_ms > 0 and measurement.cold_start.first_inference_ms > 2
    assert measurement.energy_j is None and measurement.energy_reason
    assert Measurement.from_dict(json.loads(json.dumps(measurement.to_dict()))) == measurement
    assert {title: sum(ticks) for title, ticks in progress.steps.items()} == progress.totals


@pytest.mark.alone
def test_entries_are_interleaved_and_can_be_compared(entry, quick):
    def check(slow, fast):
        assert (slow.name, fast.name) == ("slow", "fast")
        assert [timed.cycle for timed in slow.rounds] == list(range(len(slow.rounds)))
        assert [timed.cycle for timed in fast.rounds] == list(range(len(fast.rounds)))
        verdict = faster(fast, slow)
        assert verdict.verdict == "faster" and 1.3 < verdict.low <= verdict.ratio <= verdict.high < 4
        back = faster(slow, fast)
        assert back.verdict == "slower" and back.ratio == pytest.approx(1 / verdict.ratio, rel=0.1)

    undisturbed(lambda: benchmark([entry("slow", sleep_ms=3), entry("fast", sleep_ms=1)], quick), check)


@linux
def test_only_one_runs_at_a_time(entry, quick, monkeypatch):
    """A model whose runtime leaves threads spinning must not take the processor from the one that is measured."""
    real, pids, stolen = schedule._round, {}, []

    def watched(run, cycle, settings, *, alone):
        pids[run.entry.name] = run.worker.pid
        others = [pid for name, pid in pids.items() if name != run.entry.name]
        before = [_cpu_ticks(pid) for pid in others]
        real(run, cycle, settings, alone=alone)
        stolen.extend(_cpu_ticks(pid) - ticks for pid, ticks in zip(others, before, strict=True))

    monkeypatch.setattr(schedule, "_round", watched)
    both = benchmark([entry("spinner", at="call", what="spin", sleep_ms=5), entry("quiet", sleep_ms=1)], quick)
    assert all(outcome.ok for outcome in both)
    # The kernel counts in ticks of 10 ms and charges the one in which a process stops; a spinner left alone would take
    # about every tick of every round.
    assert len(stolen) > 8 and sum(stolen) <= len(stolen) / 4


def test_a_slow_model_does_not_exceed_the_time(entry):
    settings = Settings(min_seconds=0.1, min_count=64, max_seconds=0.9, round_ms=50, warmup_max_seconds=0.5)
    (outcome,) = benchmark([entry(sleep_ms=300)], settings)
    measurement = outcome.measurement
    assert 1 <= measurement.count <= 3 and measurement.percentiles_ms == {}, "three inferences support no percentile"
    assert measurement.seconds - outcome.latencies_ns[-1] / 1e9 < 0.9, "the last one begins before the time is up"
    assert not measurement.converged, "its warm-up ended by the limit"
    assert measurement.warmup_count <= 2


def test_a_fault_ends_one_entry_only(entry, quick):
    killed, refused, well = benchmark(
        [entry("killed", at="bind", what="segfault"), entry("refused", at="open", what="refuse"), entry("well")], quick
    )
    assert isinstance(killed.fault, DeviceError) and "SIGSEGV" in killed.fault.message
    assert isinstance(refused.fault, ArtifactError)
    assert killed.measurement is None and len(killed.latencies_ns) == 0
    assert well.ok and well.measurement.count >= quick.min_count


def test_a_death_between_rounds_is_a_fault(entry, quick, monkeypatch):
    real = schedule._round

    def deadly(run, cycle, settings, *, alone):
        if cycle == 2 and run.entry.name == "victim":
            os.kill(run.worker.pid, signal.SIGKILL)
        real(run, cycle, settings, alone=alone)

    monkeypatch.setattr(schedule, "_round", deadly)
    victim, well = benchmark([entry("victim"), entry("well")], quick)
    assert "SIGKILL" in victim.fault.message and len(victim.rounds) == 2
    assert well.ok


def test_layers_come_when_asked_for(entry, quick):
    settings = replace(quick, profile=True, cold_start=False)
    (outcome,) = benchmark([entry()], settings)
    assert [layer.name for layer in outcome.layers] == ["matmul"]
    assert outcome.measurement.cold_start is None
    (outcome,) = benchmark([entry(at="profile", what="cannot-profile")], settings)
    assert outcome.ok and outcome.layers == () and "cannot profile" in outcome.notes[0]


def test_feeds_may_be_a_file(entry, quick, feeds, tmp_path):
    np.savez(tmp_path / "x.npz", **feeds)
    (outcome,) = benchmark([replace(entry(), feeds=tmp_path / "x.npz")], quick)
    assert outcome.measurement.shapes == {"x": (1, 64)}
    (tmp_path / "not.npz").write_text("no archive")
    (outcome,) = benchmark([replace(entry(), feeds=tmp_path / "not.npz")], quick)
    assert isinstance(outcome.fault, UsageError) and "not.npz" in outcome.fault.message


def test_raw_latencies_are_saved_one_a_line(entry, quick, tmp_path):
    (outcome,) = benchmark([entry()], quick)
    outcome.save_latencies(tmp_path / "raw.txt")
    assert np.loadtxt(tmp_path / "raw.txt", dtype=np.int64).tolist() == outcome.latencies_ns.tolist()


def test_two_entries_of_one_name_are_refused(entry):
    with raises(UsageError, "'twin'"):
        benchmark([entry("twin"), entry("twin")])


@pytest.mark.parametrize("bad", [{"round_ms": 0}, {"min_count": 0}, {"min_seconds": 9, "max_seconds": 3}])
def test_settings_that_cannot_be_met_are_refused(bad):
    with pytest.raises(UsageError):
        Settings(**bad)


def test_a_short_measurement_gets_a_short_warm_up():
    assert Settings.lasting(2.0) == Settings()
    short = Settings.lasting(0.3)
    assert (short.min_seconds, short.warmup_min_seconds, short.warmup_max_seconds) == (0.3, 0.3, 1.5)
    assert Settings.lasting(60.0).max_seconds == 60.0


def test_no_entries_give_no_outcomes():
    assert benchmark([]) == []


@linux
@pytest.mark.parametrize("after_s", [0.3, 1.5])
def test_an_interruption_leaves_nothing_behind(entry: Entry, tmp_path, after_s):
    """Ctrl-C reaches parent and workers alike; only the parent may act on it, by ending them."""
    measured = entry(sleep_ms=1)
    np.savez(tmp_path / "feeds.npz", **measured.feeds)
    script = f"""
        import json
        import numpy as np
        from edgekit.bench import Entry, Settings, benchmark
        from edgekit.plugin import Payload
        from pathlib import Path
        payload = Payload.from_dict(json.loads({json.dumps(measured.payload.to_dict())!r}))
        entries = [Entry(n, {measured.backend!r}, payload, Path({str(tmp_path / "feeds.npz")!r})) for n in ("a", "b")]
        print("go", flush=True)
        benchmark(entries, Settings(min_seconds=600, max_seconds=600))
    """
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(scratch)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    ) as parent:
        assert parent.stdout.readline() == b"go\n"
        time.sleep(after_s)
        os.killpg(parent.pid, signal.SIGINT)
        parent.wait(timeout=60)  # of ten minutes that it measures
        assert b"KeyboardInterrupt" in parent.stderr.read()
    assert list(scratch.iterdir()) == []
    assert _group(parent.pid) == []


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _group(leader: int) -> list[str]:
    """Return the running processes of a process group."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            pids.append(path.parent.name)
    return pids
