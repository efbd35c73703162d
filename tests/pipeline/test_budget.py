"""Several budgets at once: each that is exceeded is named, and the nearest miss is the least of the worst ones."""

from __future__ import annotations

import pytest

from edgekit.errors import UsageError
from edgekit.pipeline.budget import excesses, nearest
from edgekit.project import Project
from edgekit.target.target import Limits
from tests.pipeline.choosing import candidate, measurement, plan
from tests.wording import mentions, raises


def test_every_budget_that_is_exceeded_is_named():
    planned = plan(max_latency_ms=1, max_size_mb=2, max_memory_mb=50)
    over = excesses(planned, 3.0, measurement(1.5, 80.0))
    for excess, fact in zip(
        over, (("p50 1.5 ms", "1 ms"), ("3 MB", "2 MB"), ("peak memory 80 MB", "50 MB")), strict=True
    ):
        assert mentions(str(excess), fact)
    assert [excess.share for excess in over] == pytest.approx([0.5, 0.5, 0.6])
    assert excesses(planned, 2.0, measurement(1.0, 50.0)) == (), "a budget may be used up"


def test_what_is_not_known_exceeds_nothing():
    planned = plan(max_latency_ms=1, max_memory_mb=50)
    assert excesses(planned, None, None) == ()
    assert excesses(planned, None, measurement(0.5, None)) == ()


def test_the_tighter_of_project_and_target_counts():
    limits = Limits(memory_mb=100)  # MiB
    assert plan(limits).memory_budget_mb == pytest.approx(104.8576)
    assert plan(limits, max_memory_mb=90).memory_budget_mb == 90
    assert plan(limits, max_memory_mb=200).memory_budget_mb == pytest.approx(104.8576)
    assert plan(max_memory_mb=200).memory_budget_mb == 200


def test_the_nearest_miss_is_told_across_budgets():
    planned = plan(max_latency_ms=1, max_size_mb=1, max_memory_mb=100)
    slow = candidate("a/slow", "over-budget", p50_ms=2.0)
    large = candidate("b/large", "over-budget", size_mb=1.3)
    both = candidate("c/both", "over-budget", size_mb=1.1, memory_mb=150.0)
    better = candidate("d/failed", "failed-gate", size_mb=1.01)
    closest, over = nearest(planned, (slow, both, large, better))
    assert closest is large
    assert [excess.option for excess in over] == ["--max-size-mb"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_memory_mb": 5}, "max_memory_mb = 5"),
        ({"objective": "memory"}, "objective memory"),
        ({"objective": "throughput"}, "objective throughput"),
    ],
)
def test_what_is_not_measured_cannot_be_asked_for(given, words):
    with raises(UsageError, words, hint="--no-bench"):
        Project(bench=False, **given)
    Project(**given)


def test_size_needs_no_measurement():
    assert Project(objective="size", max_size_mb=5, bench=False).objective == "size"


def test_an_unknown_objective_names_the_known_ones():
    with raises(UsageError, "objective", "'sise'", "'size'"):
        Project.from_dict({"objective": "sise"})
