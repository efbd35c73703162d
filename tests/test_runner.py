"""The runner on sessions in numpy: parts by name, states between calls, and what is bound."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.model import Part, State
from edgekit.plugin import Precision, Stateful
from edgekit.runner import Runner
from edgekit.spec import TensorSpec
from edgekit.testing._threads import in_threads

X = TensorSpec("x", "f32", ("N", 2))


class Session:
    """Run a function of the feeds; count what was run and whether it was closed."""

    precision = Precision("f32")
    inputs = outputs = ()

    def __init__(self, function):
        self.function, self.calls, self.closed = function, 0, False

    def run(self, feeds):
        self.calls += 1
        return self.function(dict(feeds))

    def bind(self, feeds):
        return lambda: self.run(feeds) and None

    def profile(self, feeds):
        return ()

    def close(self):
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Handles(Session):
    """Keep the state as a handle of its own: a list that only this session reads."""

    def step(self, feeds, states):
        self.calls += 1
        handle = states.get("past")
        past = [] if handle is None or isinstance(handle, np.ndarray) else handle
        states["past"] = [*past, float(feeds["token"].sum())]
        return {"y": np.array([sum(states["past"])])}


def accumulate(feeds):
    past = np.concatenate([feeds["past"], feeds["token"]], axis=1)
    return {"y": past.sum(axis=1), "present": past}


TOKEN, SUM = TensorSpec("token", "f32", ("batch", 1)), TensorSpec("y", "f32", ("batch",))
CARRIED = TensorSpec("past", "f32", ("batch", "length")), TensorSpec("present", "f32", ("batch", "longer"))
DECODER = Part(
    "decoder", "d.onnx", (TOKEN, CARRIED[0]), (SUM, CARRIED[1]), reads={"past": "past"}, writes={"present": "past"}
)
PAST = State("past", TensorSpec("past", "f32", ("batch", "length")), "empty")


def token(value):
    return {"token": np.array([[value]], np.float32)}


def test_parts_run_by_name_and_are_closed_together():
    encoder, decoder = Session(lambda feeds: {"y": feeds["x"] * 2}), Session(lambda feeds: {"y": feeds["x"] + 1})
    x = np.ones((1, 2), np.float32)
    with Runner({"encoder": encoder, "decoder": decoder}) as runner:
        first, second = runner.replay([("encoder", {"x": x}), ("decoder", {"x": x})])
        np.testing.assert_array_equal(first["y"], x * 2)
        np.testing.assert_array_equal(second["y"], x + 1)
        assert runner.precision.main == "f32"
    assert encoder.closed and decoder.closed


def test_an_unknown_part_is_named():
    with Runner({"encoder": Session(dict)}) as runner, pytest.raises(UsageError) as fault:
        runner.run("decoder", {})
    assert "'decoder'" in fault.value.message and "encoder" in fault.value.hint


def test_a_state_starts_empty_and_passes_from_call_to_call():
    session = Session(accumulate)
    with Runner({"decoder": session}, [DECODER], [PAST]) as runner:
        trace = [("decoder", token(value)) for value in (1, 2, 3)]
        outputs = runner.replay(trace)
        assert [float(each["y"][0]) for each in outputs] == [1, 3, 6]
        assert list(outputs[0]) == ["y"], "a state is not an output"
        assert [float(each["y"][0]) for each in runner.replay(trace)] == [1, 3, 6], "a replay starts afresh"


def test_a_state_that_nothing_wrote_is_an_error():
    written = State("past", PAST.spec, "written")
    with Runner({"decoder": Session(accumulate)}, [DECODER], [written]) as runner, pytest.raises(UsageError) as fault:
        runner.run("decoder", token(1))
    assert "'past'" in fault.value.message and "'decoder'" in fault.value.message


def test_a_state_may_start_as_zeros():
    before, after = TensorSpec("h", "f32", (1, 3)), TensorSpec("h_next", "f32", (1, 3))
    part = Part("step", "s.onnx", (before,), (after,), reads={"h": "h"}, writes={"h_next": "h"})
    state = State("h", TensorSpec("h", "f32", (1, 3)), "zeros")
    session = Session(lambda feeds: {"y": feeds["h"].sum(), "h_next": feeds["h"] + 1})
    with Runner({"step": session}, [part], [state]) as runner:
        assert [float(runner.run("step", {})["y"]) for _ in range(3)] == [0, 3, 6]


def test_a_session_that_keeps_states_itself_keeps_them():
    session = Handles(accumulate)
    assert isinstance(session, Stateful)
    with Runner({"decoder": session}, [DECODER], [PAST]) as runner:
        outputs = runner.replay([("decoder", token(value)) for value in (1, 2, 3)])
    assert [float(each["y"][0]) for each in outputs] == [1, 3, 6]


def test_what_is_bound_runs_the_whole_trace_once():
    plain, stateful = Session(lambda feeds: feeds), Session(accumulate)
    with Runner({"model": plain, "decoder": stateful}, [DECODER], [PAST]) as runner:
        runner.bind([("model", {"x": np.ones(1)})])()
        assert plain.calls == 1
        runner.bind([("model", {"x": np.ones(1)})] * 2)()
        assert plain.calls == 3
        call = runner.bind([("decoder", token(1)), ("decoder", token(2))])
        call()
        call()
        assert stateful.calls == 4


def test_threads_that_share_a_runner_keep_their_states_apart():
    with Runner({"decoder": Session(accumulate)}, [DECODER], [PAST]) as runner:

        def work(seed):
            for _ in range(20):
                outputs = runner.replay([("decoder", token(seed + step)) for step in range(4)])
                assert [float(each["y"][0]) for each in outputs] == list(
                    np.cumsum([seed + step for step in range(4)], dtype=float)
                )

        in_threads(work)
