"""The summary of single latencies in a report: few numbers that keep the percentiles nearly as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgekit.bench import Round
from edgekit.bench.latency_blocks import MOST_BLOCKS, blocks, cycles_per_block
from edgekit.errors import UsageError
from edgekit.result.latency_block import SHARES, LatencyBlock
from tests.wording import raises


def test_the_shares_sum_to_one():
    assert sum(SHARES) == pytest.approx(1)


def test_a_block_has_the_latencies_of_its_rounds():
    rounds = [Round(0, 3, 0.1, 0), Round(1, 2, 0.2, 0), Round(3, 1, 0.3, 0)]
    raw = np.array([3, 1, 2, 5, 4, 9]) * 1_000_000
    first, second, last = blocks(raw, rounds, 1)
    assert (first.cycle, first.count, first.seconds, first.latencies_ms) == (0, 3, 0.1, (1, 2, 3))
    assert second.latencies_ms == (4, 5) and last.cycle == 3
    both, alone = blocks(raw, rounds, 2)
    assert (both.cycle, both.count, both.latencies_ms) == (0, 5, (1, 2, 3, 4, 5)) and both.seconds == pytest.approx(0.3)
    assert (alone.cycle, alone.count) == (1, 1)


def test_each_rounds_percentiles_are_kept():
    rounds = [Round(0, 3, 0.1, 0), Round(1, 2, 0.2, 0)]
    (both,) = blocks(np.array([3, 1, 2, 5, 4]) * 1_000_000, rounds, 2, per_round=True)
    assert both.p50_ms == (2, 4.5) and both.p90_ms == pytest.approx((2.8, 4.9))
    assert LatencyBlock.from_dict(both.to_dict()) == both
    assert "p50_ms" not in LatencyBlock(0, 1, 0.1, (1.0,)).to_dict()


def test_a_long_run_keeps_few_blocks():
    for cycles in (1, MOST_BLOCKS, MOST_BLOCKS + 1, 10 * MOST_BLOCKS, 12345):
        assert -(-cycles // cycles_per_block(cycles)) <= MOST_BLOCKS
    assert cycles_per_block(MOST_BLOCKS) == 1 and cycles_per_block(MOST_BLOCKS + 1) == 2


def test_many_latencies_become_one_for_each_share():
    raw = np.random.default_rng(0).lognormal(0, 0.1, 5000) * 1e6
    (block,) = blocks(raw.astype(np.int64), [Round(0, 5000, 1.0, 0)], 1)
    assert len(block.latencies_ms) == len(SHARES)
    assert list(block.latencies_ms) == sorted(block.latencies_ms)
    middle = block.latencies_ms[next(i for i, s in enumerate(np.cumsum(SHARES)) if s >= 0.5)]
    assert middle == pytest.approx(np.median(raw) / 1e6, rel=0.01)


def test_a_block_is_one_line_of_text_in_a_file():
    block = LatencyBlock(7, 3, 0.25, (0.16012, 0.2, 12.5))
    data = json.loads(json.dumps(block.to_dict()))
    assert data["latencies_ms"] == "0.16012 0.2 12.5"
    assert LatencyBlock.from_dict(data) == block


@pytest.mark.parametrize(
    ("latencies", "facts"),
    [("0.1 fast", "'0.1 fast'"), ("0.1", ("3", "3", "1")), ([0.1, 0.2, "x"], ("latencies_ms[2]", "'x'"))],
)
def test_a_damaged_block_is_refused(latencies, facts):
    with raises(UsageError, facts):
        LatencyBlock.from_dict({"cycle": 0, "count": 3, "seconds": 0.1, "latencies_ms": latencies})
