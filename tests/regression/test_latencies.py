"""Latencies in blocks: raw where they are kept, else from the report; percentiles nearly as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import Machine

from edgekit.errors import UsageError
from edgekit.regression.latencies import UNKNOWN_BLOCKS, latencies, of_blocks
from tests.wording import raises

MACHINE = Machine()


@pytest.fixture(scope="module")
def measured():
    return MACHINE.measure(MACHINE.common(0, 30), 0)


@pytest.mark.parametrize("name", ["p50", "p90", "p99"])
def test_percentiles_of_the_blocks_are_those_of_the_run(name, measured):
    tolerance = {"p50": 0.002, "p90": 0.01, "p99": 0.1}[name]
    assert of_blocks(measured.turns).value(name) == pytest.approx(measured.percentiles_ms[name], rel=tolerance)


def test_sums_of_the_blocks(measured):
    blocks = of_blocks(measured.turns)
    assert blocks.count == measured.count == 30 * 120
    assert blocks.value("throughput") == pytest.approx(measured.throughput_per_s, rel=1e-3)
    assert blocks.value("mean") == pytest.approx(measured.mean_ms, rel=0.05)


def test_raw_latencies_are_used_where_they_are_those_of_the_blocks(measured, tmp_path):
    raw = np.concatenate(
        [np.linspace(turn.latencies_ms[0], turn.latencies_ms[-1], turn.count) for turn in measured.turns]
    )
    (tmp_path / "raw.txt").write_text("".join(f"{int(1e6 * value)}\n" for value in raw))
    named = replace(measured, raw_file="raw.txt")
    read = latencies(named, tmp_path)
    assert len(read.values_ms) == measured.count
    assert read.value("p50") == pytest.approx(np.median(raw), rel=1e-3)
    assert len(latencies(named).values_ms) < measured.count, "not where the file is out of reach"
    short = replace(named, turns=measured.turns[:-1])
    assert len(latencies(short, tmp_path).values_ms) < measured.count, "nor where it is of another run"
    assert latencies(replace(named, turns=()), tmp_path).size == UNKNOWN_BLOCKS
    assert latencies(replace(named, turns=())) is None


def test_a_spoilt_file_is_refused(measured, tmp_path):
    (tmp_path / "raw.txt").write_text("123\nfast\n")
    with raises(UsageError, "raw.txt'", "'fast'"):
        latencies(replace(measured, raw_file="raw.txt"), tmp_path)


def test_a_block_counts_as_often_as_it_is_drawn(measured):
    blocks = of_blocks(measured.turns)
    times = np.zeros((1, blocks.size), dtype=np.int64)
    times[0, 7] = 5
    alone = of_blocks(measured.turns[7:8])
    for name in ("p50", "p90", "mean", "throughput"):
        assert blocks.values(name, times)[0] == pytest.approx(alone.value(name), rel=0.005)


def test_cycles_are_picked_in_their_order(measured):
    blocks = of_blocks(measured.turns)
    part = blocks.of_cycles(np.array([4, 9, 11]))
    alone = of_blocks([measured.turns[4], measured.turns[9], measured.turns[11]])
    assert list(part.cycles) == [4, 9, 11]
    assert part.value("p90") == pytest.approx(alone.value("p90"))
    assert list(part.seconds) == list(alone.seconds)
