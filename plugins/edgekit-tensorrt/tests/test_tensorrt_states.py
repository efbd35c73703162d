"""A decoder with states as an engine: the ranges of its sizes, and TensorRT for RTX's own compiler on it.

No engine is run here: that needs a GPU.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from edgekit_tensorrt import TensorRT
from edgekit_tensorrt.plan import PLAN, BuildPlan
from edgekit_tensorrt.preflight import INSTALL, PREFLIGHT
from edgekit_tensorrt.rules import BEAMS
from onnx import TensorProto, helper, numpy_helper

from edgekit.model import Model, State
from edgekit.plugin import Part
from edgekit.spec import TensorSpec
from edgekit.target import target

TOKENS = TensorSpec("input_ids", "i64", ("batch_size", "decoder_sequence_length"))
PAST = TensorSpec("past", "f32", ("batch_size", "past_decoder_sequence_length", 16))
CROSS = TensorSpec("cross", "f32", ("batch_size", "encoder_sequence_length", 16))
KEPT = TensorSpec("present", "f32", ("batch_size", "past_decoder_sequence_length + decoder_sequence_length", 16))
LOGITS = TensorSpec("logits", "f32", ("batch_size", "decoder_sequence_length", 9))


def decoder(folder) -> Model:
    """Write one attention over the text so far, and one over the encoder's output."""
    nodes = [
        helper.make_node("Gather", ["embed", "input_ids"], ["x"]),
        helper.make_node("Concat", ["past", "x"], ["present"], axis=1),
        helper.make_node("Transpose", ["present"], ["keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "keys"], ["weights"]),
        helper.make_node("Softmax", ["weights"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "present"], ["own"]),
        helper.make_node("Transpose", ["cross"], ["cross_keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["own", "cross_keys"], ["cross_weights"]),
        helper.make_node("Softmax", ["cross_weights"], ["cross_shares"], axis=-1),
        helper.make_node("MatMul", ["cross_shares", "cross"], ["read"]),
        helper.make_node("MatMul", ["read", "head"], ["logits"]),
    ]
    types = {"i64": TensorProto.INT64, "f32": TensorProto.FLOAT}
    inputs, outputs = (
        [helper.make_tensor_value_info(spec.name, types[spec.dtype], spec.shape) for spec in specs]
        for specs in ((TOKENS, PAST, CROSS), (LOGITS, KEPT))
    )
    random = np.random.default_rng(0)
    weights = {"embed": random.standard_normal((9, 16)), "head": random.standard_normal((16, 9))}
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir()
    onnx.save(proto, folder / "model.onnx")
    specs = (TOKENS, PAST, CROSS), (LOGITS, KEPT)
    part = Part("decoder", "model.onnx", *specs, reads={"past": "p", "cross": "c"}, writes={"present": "p"})
    return Model("onnx", (part,), (State("p", PAST, "empty"), State("c", CROSS)), folder=folder)


@pytest.mark.parametrize("name", ["jetson-orin-nano", "nvidia-rtx:8.9"])
def test_an_engine_takes_an_empty_text_and_beams(name, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason=f"no TensorRT for RTX: {INSTALL}")
    backend, model = TensorRT(), decoder(tmp_path / "model")
    base, _, variant = name.partition(":")
    here = backend.variant(target.load(base), variant) if variant else target.load(base)
    assert backend.supports(model, here).problems == ()
    (tmp_path / "built").mkdir()
    built = backend.build(model, here, here.options.get("tensorrt", {}), tmp_path / "built")
    profiles = {profile.input: profile for profile in BuildPlan.load(tmp_path / "built" / PLAN).profiles}
    assert (profiles["past"].min, profiles["past"].max) == ((1, 0, 16), (BEAMS, 512, 16))
    assert (profiles["input_ids"].min, profiles["input_ids"].opt) == ((1, 1), (1, 1))
    assert profiles["cross"].max == (BEAMS, 512, 16)
    checked = json.loads((tmp_path / "built" / PREFLIGHT).read_text())
    assert checked["verdict"] in ("parsed", "compiled"), checked
    assert built.evidence == ("parsed" if name.startswith("jetson") else "aot_compiled")


def test_sizes_of_a_model_without_states_are_not_assumed(tmp_path):
    model = decoder(tmp_path / "model")
    plain = replace(model, parts=(replace(model.part, reads={}, writes={}),), states=())
    problems = TensorRT().supports(plain, target.load("jetson-orin-nano")).problems
    assert any("past_decoder_sequence_length" in problem for problem in problems)
