"""The front: who is beaten in everything is off it, who is best in anything is on it, and noise decides neither."""

from __future__ import annotations

import itertools
from dataclasses import replace

from edgekit.pipeline.pareto import marked
from tests.pipeline.choosing import candidate, quality


def on_front(*candidates):
    return {item.name for item in marked(candidates) if item.front}


def test_who_is_beaten_in_everything_is_off_the_front():
    fast = candidate("a/fast", p50_ms=1.0, size_mb=4.0, memory_mb=200.0)
    small = candidate("b/small", p50_ms=2.0, size_mb=1.0, memory_mb=200.0)
    beaten = candidate("c/beaten", p50_ms=2.0, size_mb=4.0, memory_mb=200.0)
    assert on_front(fast, small, beaten) == {"a/fast", "b/small"}


def test_each_measure_can_save_a_candidate():
    best = candidate("a/best", p50_ms=1.0, size_mb=1.0, memory_mb=100.0)
    best = replace(best, quality=quality(0.005))
    others = {
        "p50_ms": {"p50_ms": 0.9, "size_mb": 2.0, "memory_mb": 200.0},
        "size_mb": {"p50_ms": 2.0, "size_mb": 0.9, "memory_mb": 200.0},
        "memory_mb": {"p50_ms": 2.0, "size_mb": 2.0, "memory_mb": 90.0},
    }
    for name, values in others.items():
        assert on_front(best, replace(candidate(name, **values), quality=quality(0.009))) == {"a/best", name}
    faithful = replace(candidate("d", p50_ms=2.0, size_mb=2.0, memory_mb=200.0), quality=quality(0.0))
    assert on_front(best, faithful) == {"a/best", "d"}


def test_a_difference_within_the_noise_saves_nobody():
    first = candidate("a/one", p50_ms=1.0, size_mb=1.0, memory_mb=100.0)
    worse = candidate("b/worse", p50_ms=1.5, size_mb=1.0, memory_mb=99.9)
    assert on_front(first, worse) == {"a/one"}
    twin = candidate("c/twin", p50_ms=1.0, size_mb=1.0, memory_mb=100.0)
    assert on_front(first, twin) == {"a/one", "c/twin"}


def test_a_gain_of_the_metric_counts_as_no_loss():
    exact = replace(candidate("a/exact"), quality=quality(0.0))
    lucky = replace(candidate("b/lucky", p50_ms=2.0), quality=quality(-0.01))
    assert on_front(exact, lucky) == {"a/exact"}


def test_what_was_not_measured_or_is_not_finite_is_not_compared():
    measured = candidate("a/measured")
    unknown = candidate("b/unknown", "unsupported", p50_ms=None)
    broken = replace(candidate("c/broken", p50_ms=0.1), quality=quality(None, rel_l2=float("inf")))
    assert on_front(measured, unknown, broken) == {"a/measured"}


def test_what_missed_the_gate_competes_too():
    lossy = replace(candidate("a/lossy", "failed-gate", p50_ms=0.5), quality=quality(0.5, passed=False))
    assert on_front(lossy, candidate("b/exact")) == {"a/lossy", "b/exact"}


def test_some_candidate_is_always_on_the_front():
    values = (0.985, 1.0, 1.015, 1.03)
    several = [
        candidate(f"{i}", p50_ms=a, size_mb=b, memory_mb=100 * c)
        for i, (a, b, c) in enumerate(itertools.product(values, repeat=3))
    ]
    front = on_front(*several)
    assert "0" in front
    assert not front & {item.name for item in several if item.measurement.p50_ms == 1.03}
