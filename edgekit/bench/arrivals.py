"""The order of the inferences in one timed round: each on completion of the last, by a schedule, or several at once.

Standard library only, because the measuring process imports it.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Call = Callable[[], None]

SPIN_NS = 200_000
"""A sleep may end this late, so the end of a wait for an arrival is spent polling the clock."""


@dataclass
class RoundTimes:
    """The latencies of a round in nanoseconds, and when it began and ended."""

    began: int = 0
    ended: int = 0
    latencies: array[int] = field(default_factory=lambda: array("q"))
    service: array[int] = field(default_factory=lambda: array("q"))
    """Of a paced round: the times of the inferences alone, without their waits for those before them."""
    left: int = 0
    """Of a paced round: arrivals that were still waiting when it was aborted."""


def closed(call: Call, length_ns: int, most: int) -> RoundTimes:
    """Run `call` repeatedly for `length_ns`, at least once and at most `most` times."""
    clock = time.perf_counter_ns
    times = RoundTimes()
    add = times.latencies.append
    began = now = clock()
    end = began + length_ns
    for _ in range(most):
        start = clock()
        call()
        now = clock()
        add(now - start)
        if now >= end:
            break
    times.began, times.ended = began, now
    return times


def paced(call: Call, length_ns: int, period_ns: float) -> RoundTimes:
    """Run `call` once for each arrival of `length_ns`, one arrival every `period_ns`, one after the other.

    A round that takes more than twice `length_ns` is aborted.

    A latency counts from the scheduled arrival, so that it includes the wait in the queue: a timer that waits for the
    model would omit what a camera does not (coordinated omission; LoadGen's Server scenario counts in the same way).
    """
    clock, sleep = time.perf_counter_ns, time.sleep
    times = RoundTimes()
    add, add_service = times.latencies.append, times.service.append
    began = now = clock()
    arrivals = max(1, round(length_ns / period_ns))
    for number in range(arrivals):
        if now - began > 2 * length_ns:
            times.left = arrivals - number
            break
        due = began + int(number * period_ns)
        while (wait_ns := due - clock()) > SPIN_NS:
            sleep((wait_ns - SPIN_NS) / 1e9)
        while clock() < due:
            pass
        start = clock()
        call()
        now = clock()
        add(now - due)
        add_service(now - start)
    times.began, times.ended = began, max(now, began + length_ns)
    return times


def parallel(calls: Sequence[Call], length_ns: int, most: int) -> RoundTimes:
    """Run every call in its own thread, each repeatedly for `length_ns`; the round ends with the last one.

    Raises the error of the first call that failed.
    """
    streams: list[RoundTimes] = []
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(calls))

    def work(call: Call) -> None:
        barrier.wait()
        try:
            streams.append(closed(call, length_ns, most))
        except BaseException as error:  # the calling thread raises it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    times = RoundTimes(min(stream.began for stream in streams), max(stream.ended for stream in streams))
    for stream in streams:
        times.latencies.extend(stream.latencies)
    return times
