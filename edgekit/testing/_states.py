"""Tests of a session that keeps states itself: they pass from call to call as the contract says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from edgekit.errors import EdgekitError, UsageError
from edgekit.plugin import Backend, Payload, Session, Stateful
from edgekit.testing._linear import LinearModel
from edgekit.testing._threads import in_threads

CALLS = 30


class KeptStates(LinearModel):
    """Test `step` on the linear layer, whose input is read from one state and whose output is written to another."""

    @pytest.fixture
    def stepping(self, backend: Backend, payload: Payload) -> Iterator[tuple[Session, Stateful]]:
        """Return a session of the layer between two states, as both that it is."""
        part = replace(
            payload.part,
            reads={spec.name: f"before.{spec.name}" for spec in self.inputs},
            writes={spec.name: f"after.{spec.name}" for spec in self.outputs},
        )
        with closing(backend.open(replace(payload, part=part))) as session:
            if not isinstance(session, Stateful):
                pytest.skip("the backend's sessions keep no states")
            yield session, session

    def _states(self, seed: int) -> dict[str, Any]:
        return {f"before.{name}": array for name, array in self.feeds(seed).items()}

    def _assert_written(self, states: dict[str, Any], seed: int, order: list[int] | None = None) -> None:
        import numpy as np

        expected = self.expected(self.feeds(seed))
        rows = {name: array if order is None else array[order] for name, array in expected.items()}
        self._assert_close({name: np.asarray(states[f"after.{name}"]) for name in rows}, rows)

    def test_a_step_reads_and_writes_states(self, stepping: tuple[Session, Stateful]) -> None:
        session, stateful = stepping
        kept = []
        for seed in range(4):
            states = self._states(seed)
            assert stateful.step({}, states) == {}, "a state is not an output"
            self._assert_written(states, seed)
            kept.append(states)
            # What was read is a state still, and may be the session's own value now.
            assert stateful.step({}, states) == {}
            session.run(self.feeds(9))
        for seed, states in enumerate(kept):
            self._assert_written(states, seed)

    def test_a_closed_session_takes_no_step(self, stepping: tuple[Session, Stateful]) -> None:
        session, stateful = stepping
        states = self._states(1)
        stateful.step({}, states)
        session.close()
        with pytest.raises(EdgekitError, match="closed"):
            stateful.step({}, states)

    def test_beams_take_rows_of_a_state(self, stepping: tuple[Session, Stateful]) -> None:
        _, stateful = stepping
        for order in ([1, 0, 1], [0]):
            states = self._states(2)
            if self._rows_are_free:
                states = {name: array.take(order, axis=0) for name, array in states.items()}
                stateful.step({}, states)
                self._assert_written(states, 2, order)
            states = self._states(2)
            stateful.step({}, states)
            taken = {name: value.take(order, axis=0) for name, value in states.items()}
            self._assert_written(taken, 2, order)
            self._assert_written(states, 2)
            if self._rows_are_free:
                stateful.step({}, taken)
                self._assert_written(taken, 2, order)

    @property
    def _rows_are_free(self) -> bool:
        return all(isinstance(spec.shape[0], str) for spec in (*self.inputs, *self.outputs))

    def test_a_step_checks_what_it_is_fed(self, stepping: tuple[Session, Stateful]) -> None:
        _, stateful = stepping
        with pytest.raises(UsageError, match="no_such_input"):
            stateful.step({"no_such_input": next(iter(self.feeds().values()))}, self._states(0))
        states = {name: array[..., :1] for name, array in self._states(0).items()}
        with pytest.raises(EdgekitError):
            stateful.step({}, states)

    def test_threads_step_with_states_of_their_own(self, stepping: tuple[Session, Stateful]) -> None:
        session, stateful = stepping

        def work(seed: int) -> None:
            kept = []
            for _ in range(CALLS):
                states = self._states(seed)
                stateful.step({}, states)
                kept.append(states)
                self._assert_close(session.run(self.feeds(seed)), self.expected(self.feeds(seed)))
            for states in kept:
                self._assert_written(states, seed)

        in_threads(work)
