"""The runner of a model's parts, one session each, and of the states that pass between them: device side.

A state is not fed by the caller: an input that a part `reads` takes what the last part that `writes` it left there.
Where a session keeps states itself (`Stateful`), they stay in the runtime's memory; elsewhere they are numpy arrays.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekit._record import Record
from edgekit.errors import UsageError
from edgekit.model import Part, State
from edgekit.plugin import Backend, LayerTime, Payload, Precision, Session, Stateful
from edgekit.spec import MODEL, Call, TensorSpec

if TYPE_CHECKING:
    import numpy as np

Fed = Mapping[str, Any] | Sequence[Call]
"""What a model is run on: the feeds of one call of the part `model`, or the calls of one sample in order."""


TIMED_RUNS = 5
"""Runs of a trace in which each part is timed."""


def trace_of(fed: Fed) -> Sequence[Call]:
    """Return the calls of one sample."""
    return [(MODEL, fed)] if isinstance(fed, Mapping) else fed


@dataclass(frozen=True)
class PartTime(Record):
    """How often a part is called for a sample, and the time of these calls together."""

    part: str
    calls: int
    time_ms: float


@dataclass(frozen=True)
class Program(Record):
    """The compiled parts of one model, in order, and the states that pass between them."""

    payloads: tuple[Payload, ...]
    states: tuple[State, ...] = ()

    @classmethod
    def of(cls, compiled: Payload | Program) -> Program:
        """Return the program of one payload, or the program that is given."""
        return compiled if isinstance(compiled, Program) else cls((compiled,))

    @property
    def is_single(self) -> bool:
        """Whether it is one graph without states, so that one call answers."""
        return len(self.payloads) == 1 and not self.states

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that a sample is prepared for: those of the first part."""
        return self.payloads[0].part.fed

    def open(self, backend: Backend, *, off_target: bool = False) -> Runner:
        """Load every part and return their runner; nothing stays open where one of them fails."""
        sessions: dict[str, Session] = {}
        with contextlib.ExitStack() as opened:
            for payload in self.payloads:
                session = backend.open(replace(payload, off_target=off_target) if off_target else payload)
                opened.callback(session.close)
                sessions[payload.part.name] = session
            opened.pop_all()
        return Runner(sessions, [payload.part for payload in self.payloads], self.states)


class Runner(contextlib.ExitStack):
    """Sessions by the name of their part. As a context manager it closes them.

    `parts` describe what the sessions run; a part that is missing there reads and writes no state.
    Threads may share a runner: each has states of its own, so the calls of a sample are made in one thread.
    """

    def __init__(
        self, sessions: Mapping[str, Session], parts: Sequence[Part] = (), states: Sequence[State] = ()
    ) -> None:
        super().__init__()
        self.sessions = dict(sessions)
        for session in self.sessions.values():
            self.callback(session.close)
        # Whether a session has the method is asked once, not at each token.
        self._stepping = {name: session for name, session in self.sessions.items() if isinstance(session, Stateful)}
        self._parts = {part.name: part for part in parts}
        self._specs = {state.name: state for state in states}
        self._thread = threading.local()

    @property
    def precision(self) -> Precision:
        """The precision that the model really runs in; of several parts it is `main` of the one with most layers."""
        precisions = {name: session.precision for name, session in self.sessions.items()}
        first = next(iter(precisions.values()))
        if len(precisions) == 1:
            return first
        layers: Counter[str] = Counter()
        for each in precisions.values():
            layers.update(each.layers)
        largest = max(precisions.values(), key=lambda each: sum(each.layers.values()))
        return Precision(
            largest.main, dict(layers), first.emulated, {name: each.main for name, each in precisions.items()}
        )

    def reset(self) -> None:
        """Forget this thread's states, as before the first call of a sample."""
        self._states.clear()

    def start(self) -> Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        """Forget every state and return `run`, for the calls of the next sample."""
        self.reset()
        return self.run

    def run(self, part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one part once and return its outputs by name, without those that are states.

        Raises UsageError for an unknown part and for a state that is read before any part wrote it.
        """
        import numpy as np

        session = self._session(part)
        if not self._stateful(part):
            return session.run(feeds)
        read, states = self._read(part), self._states
        if part in self._stepping:
            return self._stepping[part].step(feeds, states)
        outputs = session.run({**feeds, **{name: np.asarray(value) for name, value in read.items()}})
        for name, state in self._parts[part].writes.items():
            states[state] = outputs.pop(name)
        return outputs

    def reorder(self, order: Sequence[int], part: str | None = None) -> None:
        """Take from every state, or from those that `part` writes, the rows `order` of the batch: beams."""
        states = self._states
        for name in list(states if part is None else self._parts[part].writes.values()):
            states[name] = states[name].take(order, axis=0)

    def grown_bytes(self, tokens: int, rows: int = 1) -> int:
        """Return the bytes of the states that start empty once they hold so many tokens of each row."""
        return sum(state.grown_bytes(tokens, rows) for state in self._specs.values())

    def replay(self, trace: Sequence[Call]) -> list[dict[str, np.ndarray]]:
        """Run the recorded calls of one sample from fresh states and return the outputs of each."""
        self.reset()
        return [self.run(part, feeds) for part, feeds in trace]

    def bind(self, trace: Sequence[Call]) -> Callable[[], None]:
        """Return a function that runs the whole trace once: what is timed. A single stateless call is bound by its
        session.
        """
        if len(trace) == 1 and not self._stateful(trace[0][0]):
            part, feeds = trace[0]
            return self._session(part).bind(feeds)
        if not any(self._stateful(part) for part, _ in trace):
            bound = [self._session(part).bind(feeds) for part, feeds in trace]

            def call_each() -> None:
                for call in bound:
                    call()

            return call_each

        def replay() -> None:
            self.replay(trace)

        return replay

    def profile(self, trace: Sequence[Call]) -> tuple[LayerTime, ...]:
        """Return the time of each executed layer. Where a part is called several times it is the time in the middle
        one, times their number. Raises UnsupportedError where the backend cannot profile.
        """
        import numpy as np

        counts, before = Counter(part for part, _ in trace), Counter[str]()
        layers: list[LayerTime] = []
        self.reset()
        for part, feeds in trace:
            count, place = counts[part], before[part]
            before[part] += 1
            if place == count // 2:
                read = {name: np.asarray(value) for name, value in self._read(part).items()}
                prefix = f"{part}: " if len(self.sessions) > 1 else ""
                layers += [
                    replace(layer, name=prefix + layer.name, time_ms=layer.time_ms * count)
                    for layer in self._session(part).profile({**feeds, **read})
                ]
            if len(trace) > 1:
                self.run(part, feeds)
        return tuple(layers)

    def part_times(self, trace: Sequence[Call]) -> tuple[PartTime, ...]:
        """Return how long the calls of each part take together in one run of the trace: the median of a few runs."""
        self.replay(trace)
        runs: dict[str, list[float]] = {part: [] for part in self.sessions}
        for _ in range(TIMED_RUNS):
            self.reset()
            spent: Counter[str] = Counter()
            for part, feeds in trace:
                start = time.perf_counter_ns()
                self.run(part, feeds)
                spent[part] += time.perf_counter_ns() - start
            for part, times in runs.items():
                times.append(spent[part] / 1e6)
        calls = Counter(part for part, _ in trace)
        return tuple(PartTime(part, calls[part], statistics.median(times)) for part, times in runs.items())

    def _read(self, part: str) -> dict[str, Any]:
        """Return the states that a part reads, by its inputs; those that nothing wrote yet are begun."""
        described, states = self._parts.get(part), self._states
        read = {}
        for name, state in (described.reads if described is not None else {}).items():
            if state not in states:
                states[state] = self._first(state, part)
            read[name] = states[state]
        return read

    @property
    def _states(self) -> MutableMapping[str, Any]:
        """The states of this thread, by name."""
        try:
            states: MutableMapping[str, Any] = self._thread.states
        except AttributeError:
            states = self._thread.states = {}
        return states

    def _session(self, part: str) -> Session:
        if part not in self.sessions:
            raise UsageError(
                f"the model has no part '{part}'.", hint=f"its parts: {', '.join(self.sessions)}; export it again"
            )
        return self.sessions[part]

    def _stateful(self, part: str) -> bool:
        described = self._parts.get(part)
        return described is not None and bool(described.reads or described.writes)

    def _first(self, name: str, part: str) -> np.ndarray:
        """Return the first value of a state. Raises UsageError for one that a part must write first."""
        state = self._specs.get(name)
        if state is None or state.start == "written":
            raise UsageError(
                f"the part '{part}' reads the state '{name}' before any part wrote it.",
                hint="run the part that writes it first",
            )
        return state.first()
