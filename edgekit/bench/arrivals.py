"""How inferences follow each other in one timed round: the next on completion, by a schedule, or several at once.

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
"""A sleep may end this late, so the last of a wait for an arrival is spent looking at the clock."""


@dataclass
class Timed:
    """The latencies of a round in nanoseconds, and when it began and ended."""

    began: int = 0
    ended: int = 0
    latencies: array[int] = field(default_factory=lambda: array("q"))
    service: array[int] = field(default_factory=lambda: array("q"))
    """Of a paced round: the time of the inference alone, without its wait for those before it."""
    left: int = 0
    """Of a paced round: arrivals that were still waiting when it was given up."""


def closed(call: Call, length_ns: int, most: int) -> Timed:
    """Run `call` again and again for `length_ns`, once at least and `most` times at most."""
    clock = time.perf_counter_ns
    found = Timed()
    add = found.latencies.append
    began = now = clock()
    end = began + length_ns
    for _ in range(most):
        start = clock()
        call()
        now = clock()
        add(now - start)
        if now >= end:
            break
    found.began, found.ended = began, now
    return found


def paced(call: Call, length_ns: int, period_ns: float) -> Timed:
    """Run `call` for arrivals every `period_ns` from now on, those of `length_ns`, each when the one before is done; a
    model that needs more than twice that for them is given up on.

    A latency counts from the scheduled arrival, so that waiting in the queue is in it: a timer that waits for the model
    would leave out what a camera does not (coordinated omission; LoadGen's Server scenario counts so too).
    """
    clock, sleep = time.perf_counter_ns, time.sleep
    found = Timed()
    add, serve = found.latencies.append, found.service.append
    began = now = clock()
    arrivals = max(1, round(length_ns / period_ns))
    for number in range(arrivals):
        if now - began > 2 * length_ns:
            found.left = arrivals - number
            break
        due = began + int(number * period_ns)
        while (left := due - clock()) > SPIN_NS:
            sleep((left - SPIN_NS) / 1e9)
        while clock() < due:
            pass
        start = clock()
        call()
        now = clock()
        add(now - due)
        serve(now - start)
    found.began, found.ended = began, max(now, began + length_ns)
    return found


def parallel(calls: Sequence[Call], length_ns: int, most: int) -> Timed:
    """Run every call in a thread of its own, each again and again for `length_ns`; the round ends with the last one.

    Raises what the first failing call raised.
    """
    rounds: list[Timed] = []
    faults: list[BaseException] = []
    gate = threading.Barrier(len(calls))

    def work(call: Call) -> None:
        gate.wait()
        try:
            rounds.append(closed(call, length_ns, most))
        except BaseException as error:  # it is raised anew in the thread that asked
            faults.append(error)

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    found = Timed(min(one.began for one in rounds), max(one.ended for one in rounds))
    for one in rounds:
        found.latencies.extend(one.latencies)
    return found
