"""States of an ONNX file: named by the user, or found by name and shape."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.model import Part
from edgekit.sources.onnx_states import named, of_file, paired
from edgekit.spec import TensorSpec
from tests.wording import raises


def part(inputs: str, outputs: str) -> Part:
    read, written = ([TensorSpec.parse(each) for each in texts.split()] for texts in (inputs, outputs))
    return Part("model", "model.onnx", tuple(read), tuple(written))


@pytest.mark.parametrize(
    ("inputs", "outputs", "pairs"),
    [
        ("input:f32[b,n] state:f32[2,b,128] sr:i64[]", "output:f32[b,1] stateN:f32[x,b,y]", ["state=stateN"]),
        ("x:f32[1,64] h0:f32[1,1,8] c0:f32[1,1,8]", "y:f32[1,2] hn:f32[1,1,8] cn:f32[1,1,8]", ["h0=hn", "c0=cn"]),
        ("x:f32[1,64] state_in:f32[1,8]", "y:f32[1,2] state_out:f32[1,8]", ["state_in=state_out"]),
        ("x:f32[1,64] hidden:f32[1,8]", "new_hidden:f32[1,8] y:f32[1,2]", ["hidden=new_hidden"]),
        ("x:f32[1,64] prev_cache:f32[1,8]", "y:f32[1,2] next_cache:f32[1,8]", ["prev_cache=next_cache"]),
    ],
)
def test_pairs_are_found_by_name_and_shape(inputs, outputs, pairs):
    assert paired(part(inputs, outputs)) == pairs
    read, states, notes = of_file(part(inputs, outputs), ())
    assert [f"{name}={output}" for name, output in zip(read.reads, read.writes, strict=True)] == pairs
    assert len(notes) == 1 and all(pair in notes[0] for pair in pairs)
    assert not any(np.any(state.first()) for state in states)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("x:f32[1,64] state:f32[1,8]", "y:f32[1,2] state_out:f32[1,9]"),
        ("x:f32[1,64] state:i64[1,8]", "y:f32[1,2] state_out:i64[1,8]"),
        ("x:f32[1,64] z:f32[1,64]", "x_out:f32[1,64] zn:f32[1,64]"),
        ("state:f32[1,8]", "state_out:f32[1,8]"),
        ("x:f32[1,64] cache:f32[b,n,8]", "y:f32[1,2] cache_out:f32[b,m,8]"),
        ("x:f32[1,64] state:f32[1,8]", "new_state:f32[1,8] state_out:f32[1,8]"),
    ],
    ids=["sizes", "integers", "no-state-name", "nothing-fed", "grows", "two-outputs"],
)
def test_other_tensors_are_no_states(inputs, outputs):
    assert of_file(part(inputs, outputs), ()) == (part(inputs, outputs), (), ())


def test_named_states_replace_those_found_and_none_refuses_them():
    graph = part("x:f32[1,64] state:f32[1,8]", "y:f32[1,8] state_out:f32[1,8]")
    assert of_file(graph, ["none"]) == (graph, (), ())
    assert of_file(graph, ["state=y"])[0].writes == {"y": "state"} and not of_file(graph, ["state=y"])[2]


@pytest.mark.parametrize(("text", "fact"), [("state", "'state'"), ("state=z", "'z'"), ("z=y", "'z'"), ("x=y", "y")])
def test_a_state_that_is_not_one_is_refused(text, fact):
    with raises(UsageError, fact):
        named(part("x:f32[1,64] state:f32[1,8]", "y:f32[1,8] state_out:f32[1,8]"), [text])
