"""Tests that threads may share a session: what the contract promises for `run` and for bound calls."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

from edgekit.plugin import Backend, Payload
from edgekit.testing._linear import LinearModel

THREADS = 6
CALLS = 60


class SharedSessions(LinearModel):
    """Test that each thread gets the outputs of its own feeds, and no error."""

    def test_threads_share_a_session(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as session:

            def work(seed: int) -> None:
                feeds = self.feeds(seed)
                expected = self.expected(feeds)
                for _ in range(CALLS):
                    self._assert_close(session.run(feeds), expected)

            in_threads(work)

    def test_threads_share_a_bound_call(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as session:
            shared = session.bind(self.feeds())

            def work(seed: int) -> None:
                feeds = self.feeds(seed)
                expected = self.expected(feeds)
                own = session.bind(feeds)
                for _ in range(CALLS):
                    shared()
                    own()
                    self._assert_close(session.run(feeds), expected)

            in_threads(work)


def in_threads(work: Callable[[int], None]) -> None:
    """Call `work` with 0, 1, ... in as many threads, which start together; raise what one of them raised."""
    start = Barrier(THREADS)

    def begin(number: int) -> None:
        start.wait(timeout=60)
        work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        for outcome in [pool.submit(begin, number) for number in range(THREADS)]:
            outcome.result()
