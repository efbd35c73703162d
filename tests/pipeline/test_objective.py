"""What is best, and what is said of it: exact, on candidates put together by hand."""

from __future__ import annotations

import pytest

from edgekit.pipeline.objective import beaten_by, best, measured, why_lost, why_shipped
from tests.pipeline.choosing import tried
from tests.wording import mentions


@pytest.fixture
def three(tmp_path):
    """Return one candidate that is the fastest, one that is the smallest, one that needs least memory."""
    return (
        tried(tmp_path, "a/fast", 1.0, bytes_=4000, memory_mb=300, per_s=1000),
        tried(tmp_path, "b/small", 1.5, bytes_=1000, memory_mb=200, per_s=700),
        tried(tmp_path, "c/lean", 2.0, bytes_=2000, memory_mb=100, per_s=1200),
    )


@pytest.mark.parametrize(
    ("objective", "name", "facts"),
    [
        ("latency", "a/fast", "fastest"),
        ("throughput", "c/lean", "samples per second"),
        ("size", "b/small", ("smallest", "1.50x", "a/fast")),
        ("memory", "c/lean", ("memory", "2.00x", "a/fast")),
    ],
)
def test_each_objective_has_its_own_best(objective, name, facts, three, wording):
    winner = best(three, objective)
    assert winner.planned.name == name
    reason = why_shipped(winner, three, objective)
    assert mentions(reason, facts)
    wording.check(f"reason: best by {objective}", reason)


@pytest.mark.parametrize(
    ("objective", "facts"),
    [
        ("latency", ("1.50x", "time", "a/fast")),
        ("throughput", ("1.43x", "per sample", "a/fast")),
        ("size", ("0.25x", "size", "a/fast", "1.50x", "time")),
        ("memory", ("0.67x", "memory", "a/fast", "1.50x", "time")),
    ],
)
def test_what_lost_says_by_how_much(objective, facts, three, wording):
    fast, small, _ = three
    reason = why_lost(small, fast, objective)
    assert mentions(reason, facts)
    wording.check(f"reason: worse by {objective}", reason)


def test_equally_fast_goes_to_the_more_faithful(tmp_path, wording):
    quick = tried(tmp_path, "a/int8", 1.00, drop=0.005)
    exact = tried(tmp_path, "b/fp32", 1.01, drop=0.0)
    assert best([quick, exact], "latency") is exact
    why, why_not = why_shipped(exact, [quick, exact], "latency"), why_lost(quick, exact, "latency")
    assert mentions(why, "a/int8", "noise", "original") and mentions(why_not, "noise")
    wording.check("reason: a tie in latency", f"{why}\n{why_not}")


def test_noise_makes_a_tie_up_to_a_tenth_and_no_further(tmp_path):
    quick = tried(tmp_path, "a/int8", 1.00, drop=0.005, noise=0.2)
    for p50_ms, same in ((1.08, True), (1.12, False)):
        # The rounds of the two cross each other, so that no difference is seen between them.
        exact = tried(tmp_path, "b/fp32", p50_ms, noise=-0.2)
        assert (best([quick, exact], "latency") is exact) is same


def test_equally_small_goes_to_the_faster(tmp_path, wording):
    smallest = tried(tmp_path, "a/int8", 2.0, bytes_=1000)
    faster = tried(tmp_path, "b/int8", 1.0, bytes_=1015)
    assert best([smallest, faster], "size") is faster
    why = why_shipped(faster, [smallest, faster], "size")
    assert mentions(why, "a/int8", "2%", "faster")
    wording.check("reason: a tie in size", why)
    larger = tried(tmp_path, "c/int8", 0.5, bytes_=1030)
    assert best([smallest, faster, larger], "size") is faster


def test_the_size_is_known_of_what_was_not_measured(tmp_path):
    large = tried(tmp_path, "a/fp32", None, bytes_=2000)
    small = tried(tmp_path, "b/int8", None, bytes_=1000)
    assert measured([large, small], "latency") == measured([large, small], "memory") == []
    assert best(measured([large, small], "size"), "size") is small
    assert mentions(why_shipped(small, [large, small], "size"), "smallest")
    assert mentions(why_lost(large, small, "size"), ("2.00x", "b/int8"))
    exact = tried(tmp_path, "c/int8", None, bytes_=1010, rel_l2=1e-5)
    assert best([large, small, exact], "size") is exact
    assert mentions(why_shipped(exact, [large, small, exact], "size"), "b/int8", "2%", "original")


def test_memory_that_no_system_tells_decides_nothing(tmp_path):
    unknown = tried(tmp_path, "a/fp32", 1.0, memory_mb=None)
    assert measured([unknown], "memory") == []


def test_a_baseline_beats_what_is_slower_beyond_the_noise(tmp_path):
    asked = tried(tmp_path, "a/int8", 1.5)
    base = tried(tmp_path, "a/fp32", 1.0, baseline=True)
    assert beaten_by(asked, [base], "latency") is base
    assert beaten_by(tried(tmp_path, "a/int8", 1.01), [base], "latency") is None
    assert beaten_by(base, [asked], "latency") is None


def test_what_is_small_and_slower_than_a_baseline_says_so(tmp_path):
    asked = tried(tmp_path, "a/int8", 1.5, bytes_=250)
    base = tried(tmp_path, "a/fp32", 1.0, bytes_=1000, baseline=True)
    assert mentions(why_shipped(asked, [asked], "size", beside=[base]), "only", ("1.50x", "a/fp32"))
