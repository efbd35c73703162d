"""The order of inferences in a round, on calls whose time is known."""

from __future__ import annotations

import threading
import time

import pytest

from edgekit.bench import arrivals
from tests.measuring import least

MS = 1_000_000


def sleeper(ms: float):
    return lambda: time.sleep(ms / 1000)


def test_the_next_starts_on_completion_of_the_last():
    times = arrivals.closed(sleeper(5), 60 * MS, most=1000)
    assert 2 <= len(times.latencies) <= 12
    assert min(times.latencies) >= 5 * MS
    assert sum(times.latencies) <= times.ended - times.began
    assert len(arrivals.closed(sleeper(0), 10**12, most=3).latencies) == 3


def test_a_model_that_keeps_up_has_latencies_of_the_inference_alone():
    def sixth_wait() -> float:
        times = arrivals.paced(sleeper(2), 400 * MS, 20 * MS)
        assert len(times.latencies) == len(times.service) == 20 and times.left == 0
        assert times.ended - times.began >= 400 * MS, "the round lasts as long as its schedule"
        waits = sorted(latency - service for latency, service in zip(times.latencies, times.service, strict=True))
        assert waits[0] >= 0
        return waits[5]

    assert least(sixth_wait, 2 * MS) < 2 * MS, "undisturbed inferences begin when they arrive"


def test_waiting_in_the_queue_counts():
    """A model of 20 ms and arrivals every 10 ms: the k-th waits 10 ms longer than the one before it."""
    times = arrivals.paced(sleeper(20), 100 * MS, 10 * MS)
    assert len(times.latencies) + times.left == 10 and len(times.latencies) >= 3
    for number, latency in enumerate(times.latencies):
        assert latency >= (20 + 10 * number) * MS
    assert max(times.service) < times.latencies[-1], "its own time does not grow"


def test_a_schedule_that_is_far_too_fast_is_aborted():
    times = arrivals.paced(sleeper(30), 60 * MS, 1 * MS)
    assert times.left >= 50 and len(times.latencies) + times.left == 60
    assert len(times.latencies) >= 2


def test_several_streams_run_in_parallel():
    together, met = threading.Barrier(3), threading.Event()

    def call() -> None:
        if not met.is_set():
            together.wait(timeout=30)  # fails unless three calls are in here at once
            met.set()
        time.sleep(0.01)

    times = arrivals.parallel([call] * 3, 100 * MS, most=1000)
    assert len(times.latencies) >= 3 and min(times.latencies) >= 10 * MS


def test_an_error_in_one_of_several_streams_is_raised():
    def broken() -> None:
        raise RuntimeError("[vendor] error 0x80")

    with pytest.raises(RuntimeError, match="0x80"):
        arrivals.parallel([sleeper(1), broken], 20 * MS, most=10)
