"""Who is shipped, and what is said of the others: on candidates put together by hand."""

from __future__ import annotations

import pytest

from edgekit.pipeline.selection import select
from edgekit.target.target import Limits
from tests.pipeline.choosing import plan, tried


def fared(made, several):
    """Return each candidate's status and reason, and the name of the one that ships."""
    candidates, winner = select(made, several)
    return {c.name: (c.status, c.reason) for c in candidates}, winner and winner.planned.name


def test_the_fastest_that_passes_is_shipped_and_not_the_fastest(tmp_path):
    several = [
        tried(tmp_path, "a/broken", 0.5, passed=False),
        tried(tmp_path, "a/int8", 1.0),
        tried(tmp_path, "a/fp32", 2.0),
    ]
    found, winner = fared(plan(), several)
    assert winner == "a/int8"
    assert found == {
        "a/broken": ("failed-gate", "too much was lost"),
        "a/int8": ("shipped", "the fastest that passes"),
        "a/fp32": ("passed", "2.00x the time of a/int8"),
    }


def test_all_budgets_hold_together(tmp_path):
    several = [
        tried(tmp_path, "a/large", 1.0, bytes_=3_000_000),
        tried(tmp_path, "a/hungry", 1.0, memory_mb=400),
        tried(tmp_path, "a/slow", 9.0),
        tried(tmp_path, "a/fits", 3.0, bytes_=1_000_000, memory_mb=150),
    ]
    made = plan(Limits(memory_mb=200), max_latency_ms=5, max_size_mb=2)
    found, winner = fared(made, several)
    assert winner == "a/fits" and found["a/fits"] == ("shipped", "the only one that passes")
    assert found["a/large"] == ("over-budget", "3 MB, at most 2 MB allowed")
    assert found["a/hungry"] == ("over-budget", "peak memory 400 MB, at most 209.715 MB allowed")
    assert found["a/slow"] == ("over-budget", "p50 9 ms, at most 5 ms allowed")


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_a_recipe_that_was_asked_for_is_not_shipped_slower_than_full_precision(objective, tmp_path):
    asked, base = tried(tmp_path, "a/int8", 2.0), tried(tmp_path, "a/fp32", 1.0, baseline=True)
    found, winner = fared(plan(objective=objective), [asked, base])
    assert winner is None
    assert found["a/int8"][0] == "slower" and found["a/fp32"][0] == "baseline"
    assert "2.00x the time" in found["a/int8"][1]


@pytest.mark.parametrize("objective", ["size", "memory"])
def test_who_asks_for_a_small_one_gets_it_though_it_be_slower(objective, tmp_path):
    asked = tried(tmp_path, "a/int8", 2.0, bytes_=250, memory_mb=50)
    base = tried(tmp_path, "a/fp32", 1.0, baseline=True)
    found, winner = fared(plan(objective=objective), [asked, base])
    assert winner == "a/int8"
    assert found["a/int8"] == ("shipped", "the only one that passes; 2.00x the time of a/fp32, the fastest")


def test_without_measurements_the_order_of_the_target_decides(tmp_path):
    several = [tried(tmp_path, "a/first", None, bytes_=900), tried(tmp_path, "b/second", None, bytes_=500)]
    found, winner = fared(plan(bench=False), several)
    assert winner == "a/first"
    assert "not measured (measuring was switched off)" in found["a/first"][1]
    assert found["b/second"] == ("passed", "a/first comes first in the target's order")
    found, winner = fared(plan(bench=False, objective="size"), several)
    assert winner == "b/second" and found["a/first"] == ("passed", "1.80x the size of b/second")


def test_nothing_that_passes_is_nothing_shipped(tmp_path):
    found, winner = fared(plan(max_size_mb=1e-6), [tried(tmp_path, "a/int8"), tried(tmp_path, "b/x", passed=False)])
    assert winner is None
    assert {name: status for name, (status, _) in found.items()} == {"a/int8": "over-budget", "b/x": "failed-gate"}
