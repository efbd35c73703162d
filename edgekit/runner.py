"""The runner of a model's parts, one session each, and of the states that pass between them: device side.

A state is not fed by the caller: an input that a part `reads` takes what the last part that `writes` it left there.
Where a session keeps states itself (`Stateful`), they stay in the runtime's memory; elsewhere they are numpy arrays.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Part, State
from edgekit.plugin import Backend, LayerTime, Payload, Precision, Session, Stateful
from edgekit.spec import MODEL, Call, TensorSpec

if TYPE_CHECKING:
    import numpy as np

Fed = Mapping[str, Any] | Sequence[Call]
"""What a model is run on: the feeds of one call of the part `model`, or the calls of one sample in order."""


def trace_of(fed: Fed) -> Sequence[Call]:
    """Return the calls of one sample."""
    return [(MODEL, fed)] if isinstance(fed, Mapping) else fed


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
        self._parts = {part.name: part for part in parts}
        self._specs = {state.name: state for state in states}
        self._thread = threading.local()

    @property
    def precision(self) -> Precision:
        """The precision that the first part really runs in."""
        return next(iter(self.sessions.values())).precision

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
        described, states = self._parts[part], self._states
        for state in described.reads.values():
            if state not in states:
                states[state] = self._start(state, part)
        if isinstance(session, Stateful):
            return session.step(feeds, states)
        read = {name: np.asarray(states[state]) for name, state in described.reads.items()}
        outputs = session.run({**feeds, **read})
        for name, state in described.writes.items():
            states[state] = outputs.pop(name)
        return outputs

    def reorder(self, order: Sequence[int], part: str | None = None) -> None:
        """Take from every state, or from those that `part` writes, the rows `order` of the batch: beams."""
        states = self._states
        for name in list(states if part is None else self._parts[part].writes.values()):
            states[name] = states[name].take(order, axis=0)

    def grown_bytes(self, tokens: int, rows: int = 1) -> int:
        """Return the bytes of the states that start empty once they hold so many tokens of each row."""
        import numpy as np

        total = 0
        for state in self._specs.values():
            if state.start == "empty":
                batch, *others = state.spec.shape
                sizes = [rows if isinstance(batch, str) else batch]
                sizes += [tokens if isinstance(size, str) else size for size in others]
                total += math.prod(sizes) * np.dtype(state.spec.numpy_dtype).itemsize
        return total

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
        """Return the time of each executed layer. Raises UnsupportedError for more than one call, or one with
        states.
        """
        if len(trace) > 1 or self._stateful(trace[0][0]):
            raise UnsupportedError("the layers of a model of several graphs, or with states, cannot be timed.")
        part, feeds = trace[0]
        return self._session(part).profile(feeds)

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

    def _start(self, name: str, part: str) -> np.ndarray:
        """Return the first value of a state: zeros of its shape, free sizes 1, or 0 where it starts empty."""
        import numpy as np

        state = self._specs.get(name)
        if state is None or state.start == "written":
            raise UsageError(
                f"the part '{part}' reads the state '{name}' before any part wrote it.",
                hint="run the part that writes it first",
            )
        free = 0 if state.start == "empty" else 1
        batch, *others = state.spec.shape or (1,)
        sizes = [1 if isinstance(batch, str) else batch, *(free if isinstance(size, str) else size for size in others)]
        return np.zeros(sizes[: len(state.spec.shape)], state.spec.numpy_dtype)
