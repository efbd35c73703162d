"""Steady state: the end of a warm-up."""

from __future__ import annotations

from edgekit.bench.steady import WINDOWS, is_steady


def test_too_few_windows_are_not_steady():
    assert not is_steady([100.0] * (WINDOWS - 1))
    assert is_steady([100.0] * WINDOWS)


def test_a_falling_latency_is_not_steady_until_it_has_settled():
    settling = [100 * (1 + 2 * 0.6**i) for i in range(30)]
    first = next(n for n in range(len(settling)) if is_steady(settling[:n]))
    assert first > WINDOWS + 3
    assert settling[first - WINDOWS] < 110


def test_a_step_counts_until_it_has_left_the_window():
    medians = [100.0] * 6 + [70.0] * WINDOWS
    assert is_steady(medians[:6])
    assert not any(is_steady(medians[:n]) for n in range(7, 6 + WINDOWS))
    assert is_steady(medians)


def test_a_jitter_of_one_percent_is_steady_and_of_ten_is_not():
    assert is_steady([100, 101, 99, 100, 101])
    assert not is_steady([100, 110, 95, 105, 90])
