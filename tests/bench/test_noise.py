"""Noise: the verdict from the kernel's counts; the busy neighbour of a test is a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.bench import benchmark
from edgekit.bench.noise import FOREIGN_LIMIT, Reading, Tally, read
from tests.wording import mentions

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def proc(root: Path, **times: str) -> Path:
    (root / "proc").mkdir(parents=True, exist_ok=True)
    lines = ["cpu  1 1 1 1 1 1 1 1 0 0", *(f"{name} {value}" for name, value in times.items()), "intr 5", "ctxt 7"]
    (root / "proc/stat").write_text("\n".join(lines) + "\n")
    return root


def tally_of(*, busy: float, own: float, steal: float = 0.0, total: float = 4.0, **extra: float) -> Tally:
    tally = Tally()
    throttled = extra.get("throttled")
    after = Reading(100 + total, 10 + busy, 1 + steal, None if throttled is None else 5 + throttled)
    before = Reading(100, 10, 1, None if throttled is None else 5)
    tally.add(before, after, own=own, seconds=2.0, preempted=int(extra.get("preempted", 0)))
    return tally


def test_counts_are_read_for_the_processors_we_may_use(tmp_path):
    stat = {f"cpu{core}": "100 10 20 800 30 5 5 40 7 0" for core in CORES}
    counts = read(proc(tmp_path, **stat, cpu4095="999999 0 0 0 0 0 0 0 0 0"))
    hertz = os.sysconf("SC_CLK_TCK")
    assert counts.total == pytest.approx(len(CORES) * 1010 / hertz)
    assert counts.busy == pytest.approx(len(CORES) * 140 / hertz)
    assert counts.steal == pytest.approx(len(CORES) * 40 / hertz)
    assert counts.throttled is None


def test_the_quota_of_the_control_group_is_read(tmp_path):
    root = proc(tmp_path, **{f"cpu{CORES[0]}": "1 1 1 1 1 1 1 1 0 0"})
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("0::/user/box\n")
    (root / "sys/fs/cgroup/user/box").mkdir(parents=True)
    (root / "sys/fs/cgroup/user/box/cpu.stat").write_text("usage_usec 9\nnr_throttled 2\nthrottled_usec 2500000\n")
    assert read(root).throttled == 2.5


def test_hidden_counts_are_none(tmp_path):
    assert read(tmp_path) is None
    assert read(proc(tmp_path)) is None, "a /proc/stat without our processors has no counts for us"


def test_a_quiet_machine_is_not_called_noisy():
    verdict = tally_of(busy=2.05, own=2.0, preempted=3).verdict([10, 10.2, 9.9, 10.1])
    assert not verdict.noisy and verdict.reasons == ()
    assert verdict.foreign_cpu_share == pytest.approx(0.0125) and verdict.steal_share == 0
    assert verdict.round_spread == pytest.approx(0.3 / 10.1)


def test_counting_errors_do_not_make_a_share_negative():
    assert tally_of(busy=1.9, own=2.0).verdict([1, 1]).foreign_cpu_share == 0.0


@pytest.mark.parametrize(
    ("tally", "medians", "facts"),
    [
        (tally_of(busy=3.8, own=1.8, preempted=400), [1, 1], ("other processes", "50%", "200")),
        (tally_of(busy=2, own=2, steal=0.4), [1, 1], ("hypervisor", "10%")),
        (tally_of(busy=2, own=2, throttled=0.5), [1, 1], ("quota", "0.50 s")),
        (tally_of(busy=2, own=2), [10, 14, 10], ("3 rounds", "40%")),
    ],
)
def test_each_disturbance_is_named(tally, medians, facts):
    verdict = tally.verdict(medians)
    assert verdict.noisy and len(verdict.reasons) == 1
    assert mentions(verdict.reasons[0], facts)


@pytest.mark.parametrize(("preempted", "noisy"), [(4, False), (400, True)])
def test_without_counts_the_share_is_unknown(preempted, noisy):
    tally = Tally()
    tally.add(None, None, own=1.0, seconds=2.0, preempted=preempted)
    verdict = tally.verdict([1, 1])
    assert verdict.noisy is noisy and verdict.foreign_cpu_share is None and verdict.steal_share is None
    assert "unknown" in verdict.reasons[-1]


def test_one_round_has_no_spread():
    assert tally_of(busy=1, own=1).verdict([5]).round_spread is None


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc/stat")
def test_a_busy_neighbour_is_detected(entry, quick):
    """A process that spins is foreign however little our model computes; without it the share is smaller."""
    (before,) = benchmark([entry(sleep_ms=1)], quick)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            time.sleep(0.2)
            (outcome,) = benchmark([entry(sleep_ms=1)], quick)
        finally:
            neighbour.kill()
    noise = outcome.measurement.noise
    assert noise.noisy
    assert any(mentions(reason, "other processes") for reason in noise.reasons)
    assert noise.foreign_cpu_share > 0.5 / len(CORES) or before.measurement.noise.noisy


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc/stat")
def test_our_own_work_is_not_foreign(entry, quick):
    """A model that computes all the time, beside another that waits its turn: counted as foreign, it would be half.

    Neighbours only ever add, so one quiet try shows what is ours.
    """
    settings = replace(quick, min_seconds=1.0)  # less is too few of the kernel's ticks to compute a share from
    for _ in range(3):
        outcomes = benchmark([entry("one", repeats=50), entry("two", repeats=50)], settings)
        if max(outcome.measurement.noise.foreign_cpu_share for outcome in outcomes) <= FOREIGN_LIMIT:
            return
        others = busy_share()
    assert others > FOREIGN_LIMIT, "nothing else runs, and our own work counts as foreign"
    pytest.skip(f"this machine is busy with other work: {others:.0%} of it")


def busy_share() -> float:
    """Return the share of the processors that is used while we do nothing."""
    before = read()
    time.sleep(2)
    after = read()
    return (after.busy - before.busy) / (after.total - before.total)
