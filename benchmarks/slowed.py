"""A backend that takes a fixed time longer for each inference: the true slowdown that `regression_gate.py` looks for.

It is not a plugin: `Entry("name", "slowed:Slowed", payload)` finds it while this folder is on the path. The payload's
options are those of the real backend, with `slowed_backend` and `slowed_by_ns` beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from edgekit import registry
from edgekit.plugin import Payload, Session


class Slowed:
    api = 2
    name = "slowed"

    def open(self, payload: Payload) -> Session:
        options = dict(payload.options)
        backend, wait_ns = options.pop("slowed_backend"), options.pop("slowed_by_ns")
        session = registry.backend(backend).open(replace(payload, options=options))
        if wait_ns:
            bind = session.bind
            session.bind = lambda feeds: _waiting(bind(feeds), wait_ns)
        return session


def _waiting(call: Callable[[], None], wait_ns: int) -> Callable[[], None]:
    clock = time.perf_counter_ns

    def run() -> None:
        call()
        end = clock() + wait_ns
        while clock() < end:
            pass

    return run
