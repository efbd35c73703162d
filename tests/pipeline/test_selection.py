"""Who is shipped, and what is said of the others: on candidates put together by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.pipeline.selection import select
from edgekit.result.report import Repair
from edgekit.target.target import Limits
from tests.pipeline.choosing import plan, tried
from tests.wording import mentions


@pytest.fixture
def fared(wording, request):
    """Return each candidate's status and reason, and the name of the one that ships; their wording is kept."""
    texts: list[str] = []

    def judge(made, several):
        candidates, winner = select(made, several)
        texts.extend(f"{c.name}, {c.status}: {c.reason}" for c in candidates)
        return {c.name: (c.status, c.reason) for c in candidates}, winner and winner.planned.name

    yield judge
    wording.check(f"reasons: {request.node.name.removeprefix('test_').replace('_', ' ')}", "\n".join(texts))


def test_the_fastest_that_passes_is_shipped_and_not_the_fastest(tmp_path, fared):
    several = [
        tried(tmp_path, "a/broken", 0.5, passed=False),
        tried(tmp_path, "a/int8", 1.0),
        tried(tmp_path, "a/fp32", 2.0),
    ]
    outcomes, winner = fared(plan(), several)
    assert winner == "a/int8"
    assert {name: status for name, (status, _) in outcomes.items()} == {
        "a/broken": "failed-gate",
        "a/int8": "shipped",
        "a/fp32": "passed",
    }
    assert outcomes["a/broken"][1] == "too much was lost", "the gate's own words"
    assert mentions(outcomes["a/fp32"][1], ("2.00x", "a/int8"))


def test_all_budgets_hold_together(tmp_path, fared):
    several = [
        tried(tmp_path, "a/large", 1.0, bytes_=3_000_000),
        tried(tmp_path, "a/hungry", 1.0, memory_mb=400),
        tried(tmp_path, "a/slow", 9.0),
        tried(tmp_path, "a/fits", 3.0, bytes_=1_000_000, memory_mb=150),
    ]
    planned = plan(Limits(memory_mb=200), max_latency_ms=5, max_size_mb=2)
    outcomes, winner = fared(planned, several)
    assert winner == "a/fits" and outcomes["a/fits"][0] == "shipped"
    for name, facts in (
        ("a/large", ("3 MB", "2 MB")),
        ("a/hungry", ("peak memory 400 MB", "209.715 MB")),
        ("a/slow", ("p50 9 ms", "5 ms")),
    ):
        assert outcomes[name][0] == "over-budget" and mentions(outcomes[name][1], facts)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_a_recipe_that_was_asked_for_is_not_shipped_slower_than_full_precision(objective, tmp_path, fared):
    asked, base = tried(tmp_path, "a/int8", 2.0), tried(tmp_path, "a/fp32", 1.0, baseline=True)
    outcomes, winner = fared(plan(objective=objective), [asked, base])
    assert winner is None
    assert outcomes["a/int8"][0] == "slower" and outcomes["a/fp32"][0] == "baseline"
    assert mentions(outcomes["a/int8"][1], "2.00x")


@pytest.mark.parametrize("objective", ["size", "memory"])
def test_who_asks_for_a_small_one_gets_it_though_it_be_slower(objective, tmp_path, fared):
    asked = tried(tmp_path, "a/int8", 2.0, bytes_=250, memory_mb=50)
    base = tried(tmp_path, "a/fp32", 1.0, baseline=True)
    outcomes, winner = fared(plan(objective=objective), [asked, base])
    assert winner == "a/int8"
    assert outcomes["a/int8"][0] == "shipped" and mentions(outcomes["a/int8"][1], ("2.00x", "a/fp32"))


def test_without_measurements_the_order_of_the_target_decides(tmp_path, fared):
    several = [tried(tmp_path, "a/first", None, bytes_=900), tried(tmp_path, "b/second", None, bytes_=500)]
    outcomes, winner = fared(plan(bench=False), several)
    assert winner == "a/first"
    assert mentions(outcomes["a/first"][1], "measured")
    assert outcomes["b/second"][0] == "passed" and mentions(outcomes["b/second"][1], "a/first", "order")
    outcomes, winner = fared(plan(bench=False, objective="size"), several)
    assert (
        winner == "b/second"
        and outcomes["a/first"][0] == "passed"
        and mentions(outcomes["a/first"][1], ("1.80x", "b/second"))
    )


def test_nothing_that_passes_is_nothing_shipped(tmp_path, fared):
    outcomes, winner = fared(plan(max_size_mb=1e-6), [tried(tmp_path, "a/int8"), tried(tmp_path, "b/x", passed=False)])
    assert winner is None
    assert {name: status for name, (status, _) in outcomes.items()} == {"a/int8": "over-budget", "b/x": "failed-gate"}


def test_where_nothing_is_measured_the_most_faithful_of_the_expected_fastest_is_prepared(tmp_path, fared):
    def int8(name: str, drop: float, **recipe: object):
        candidate = tried(tmp_path, name, None, drop=drop)
        recipe = replace(candidate.planned.recipe, **{"precision": "i8", **recipe})
        return replace(candidate, planned=replace(candidate.planned, recipe=recipe))

    first, second = int8("a/int8", 0.0065), int8("a/int8-bf16", 0.0008, precision="i8+bf16")
    exact, other = tried(tmp_path, "a/fp32", None), int8("b/int8", 0.0)
    outcomes, winner = fared(plan(bench=False), [first, second, exact, other])
    assert winner == "a/int8-bf16", "not the first, and no slower arithmetic or second runtime"
    assert mentions(outcomes["a/int8-bf16"][1], "closest", "not measured")
    assert mentions(outcomes["a/int8"][1], "a/int8-bf16", "closer") and "order" in outcomes["b/int8"][1]


def test_a_repaired_candidate_is_not_as_fast_as_one_that_needs_no_repair(tmp_path, fared):
    whole, repaired = tried(tmp_path, "a/int8", None, drop=0.005), tried(tmp_path, "a/int8-mse-repaired", None)
    repaired = replace(repaired, repair=Repair((), 3, ()))
    assert fared(plan(bench=False), [whole, repaired])[1] == "a/int8"
