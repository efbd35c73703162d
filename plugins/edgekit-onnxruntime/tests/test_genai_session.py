"""onnxruntime-genai's engine, fed ids: on a small graph of its form, so without its builder."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from edgekit_onnxruntime import OnnxRuntime
from edgekit_onnxruntime.genai import part
from edgekit_onnxruntime.options import GENAI, GENAI_FILES
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ArtifactError, UsageError
from edgekit.model import Model, State
from edgekit.plugin import Generates, Payload, Stateful, TensorSpec
from edgekit.runner import Program
from edgekit.target.target import load as load_target
from tests.wording import raises

pytest.importorskip("onnxruntime_genai")

VOCABULARY, CONTEXT, STOP = 60, 600, 59
PAST, PRESENT = ("past_key_values.0.key", "past_key_values.0.value"), ("present.0.key", "present.0.value")
STATES = (State("known", TensorSpec("known", "i64", ("batch", "known")), "empty"),)


def weights():
    generator = np.random.default_rng(7)
    table = generator.standard_normal((VOCABULARY, VOCABULARY)).astype(np.float32)
    table[:, STOP] = -100  # which so never follows
    return table, generator.standard_normal(VOCABULARY).astype(np.float32)


def scores(ids):
    """Return what the graph computes: a row of a table for the last id, and the sum of all ids times a vector."""
    table, vector = weights()
    return table[ids[-1]] + np.float32(sum(ids) % 1000) * vector * np.float32(0.01)


def greedy(ids, count):
    ids, begun = list(ids), len(ids)
    while len(ids) < begun + count:
        ids.append(int(scores(ids).argmax()))
    return ids[begun:]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write a graph whose keys and values are the ids so far."""
    folder = tmp_path_factory.mktemp("genai")
    table, vector = weights()
    constants = {"table": table, "vector": vector * np.float32(0.01), "thousand": np.float32(1000)}
    constants |= {"places": np.array([1, 3], np.int64), "all": np.array([1, 2], np.int64)}
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "places"], ["new"]),
        *(
            helper.make_node("Concat", [past, "new"], [present], axis=2)
            for past, present in zip(PAST, PRESENT, strict=True)
        ),
        helper.make_node("ReduceSum", [PRESENT[0], "all"], ["sum"], keepdims=1),
        helper.make_node("Squeeze", ["sum", "one"], ["total"]),
        helper.make_node("Mod", ["total", "thousand"], ["rest"], fmod=1),
        helper.make_node("Mul", ["rest", "vector"], ["common"]),
        helper.make_node("Gather", ["table", "input_ids"], ["own"]),
        helper.make_node("Add", ["own", "common"], ["logits"]),
    ]
    constants["one"] = np.array([1], np.int64)
    cache = lambda name, size: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, size, 1])  # noqa: E731
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCABULARY])
    graph = helper.make_graph(
        nodes,
        "sums",
        [ids, mask, *(cache(name, "past") for name in PAST)],
        [logits, *(cache(name, "total") for name in PRESENT)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opset = helper.make_opsetid("", 18)
    (folder / "model.onnx").write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    )
    (folder / "model.onnx.data").write_bytes(b"")
    names = {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"}
    given = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
    decoder = {
        **{"filename": "model.onnx", "head_size": 1, "hidden_size": 1, "num_attention_heads": 1},
        **{"num_hidden_layers": 1, "num_key_value_heads": 1, "session_options": {"provider_options": []}},
        "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask", **names},
        "outputs": {"logits": "logits", **given},
    }
    described = {"bos_token_id": 1, "eos_token_id": STOP, "pad_token_id": 0, "type": "llama"}
    described |= {"context_length": CONTEXT, "vocab_size": VOCABULARY, "decoder": decoder}
    search = {"max_length": CONTEXT, "past_present_share_buffer": False}
    (folder / "genai_config.json").write_text(json.dumps({"model": described, "search": search}))
    return Model(GENAI, (part(),), STATES, "text-generation", folder=folder)


@pytest.fixture(scope="module")
def payload(model, tmp_path_factory):
    work = tmp_path_factory.mktemp("payload")
    built = OnnxRuntime().build(model, load_target("host"), {"threads": 1}, work)
    assert built.files == GENAI_FILES and "onnxruntime-genai" in built.requires["packages"]
    # A bundle has the files in a folder of the part.
    files = tuple(f"{work.name}/{name}" for name in built.files)
    return Payload(work.parent, files, built.part, built.options)


@pytest.fixture
def session(payload):
    with closing(OnnxRuntime().open(payload)) as opened:
        yield opened


def test_the_runtimes_own_search_gives_the_same_ids(payload):
    backend = OnnxRuntime()
    assert isinstance(backend, Generates)
    generator = backend.generator(payload)
    for prompt in ([1, 17, 33, 8, 21], [1], [50] * 30):
        assert list(generator.generate(prompt, 40)) == greedy(prompt, 40)
    with raises(UsageError, (str(CONTEXT + 1), str(CONTEXT)), hint="shorter"):
        next(generator.generate([1] * CONTEXT, 1))
    generator.close()
    with raises(UsageError, "closed"):
        next(generator.generate([1], 1))


def test_each_call_gives_the_scores_of_the_id_that_follows(payload):
    ids = np.random.default_rng(5).integers(3, VOCABULARY, 40)
    with Program((payload,), STATES).open(OnnxRuntime()) as runner:
        assert isinstance(runner.sessions["decoder"], Stateful)
        run = runner.start()
        for begin, end in ((0, 7), (7, 8), (8, 9), (9, 40)):
            given = run("decoder", {"input_ids": ids[None, begin:end]})["logits"]
            assert given.shape == (1, 1, VOCABULARY) and np.allclose(given[0, 0], scores(ids[:end]), atol=1e-5)


def test_a_text_grows_beyond_its_first_room(payload):
    """The runtime sets memory aside for so many tokens; behind them the text is read into more."""
    with Program((payload,), STATES).open(OnnxRuntime()) as runner:
        run, fed, ids = runner.start(), [1, 17, 33], []
        while len(ids) < 300:
            ids.append(int(run("decoder", {"input_ids": np.array([fed])})["logits"][0, -1].argmax()))
            fed = ids[-1:]
        assert ids == greedy([1, 17, 33], 300)
        with raises(UsageError, (str(CONTEXT + 1), str(CONTEXT)), hint="shorter"):
            runner.start()("decoder", {"input_ids": np.ones((1, CONTEXT + 1), np.int64)})


def test_states_are_values_that_no_later_call_changes(session):
    states = {"known": np.zeros((1, 0), np.int64)}
    session.step({"input_ids": np.array([[1, 17, 33]])}, states)
    before = states["known"]
    first = session.step({"input_ids": np.array([[8]])}, states)["logits"]
    again = session.step({"input_ids": np.array([[8]])}, other := {"known": before})["logits"]
    assert np.allclose(first, again, atol=1e-5)
    assert np.asarray(before).tolist() == [[1, 17, 33]] and np.asarray(other["known"]).tolist() == [[1, 17, 33, 8]]
    both = session.step({"input_ids": np.array([[8], [9]])}, {"known": before.take([0, 0])})["logits"]
    assert np.allclose(both[:, 0], [scores([1, 17, 33, 8]), scores([1, 17, 33, 9])], atol=1e-5)
    plain = session.run({"input_ids": np.array([[8]]), "past": np.array([[1, 17, 33]])})
    assert np.allclose(plain["logits"], first, atol=1e-5) and plain["present"].tolist() == [[1, 17, 33, 8]]
    session.bind({"input_ids": np.array([[8]]), "past": np.array([[1, 17, 33]])})()
    with raises(UsageError, "'past'"):
        session.run({"input_ids": np.array([[8]])})


def test_the_precision_is_that_of_the_kernels(session):
    assert session.precision.main == "f32" and session.precision.layers["f32"] > 1 and session.threads == 1


@pytest.mark.parametrize(
    ("ids", "word"),
    [([[VOCABULARY]], "0 to 59"), ([[-1]], "0 to 59"), ([1], "batch"), ([[0.5]], "float64[1, 1]"), ([[]], "[1, 0]")],
)
def test_bad_ids_are_refused(ids, word, session):
    with raises(UsageError, word):
        session.step({"input_ids": np.array(ids)}, {"known": np.zeros((1, 0), np.int64)})


def test_a_damaged_payload_is_named(payload, tmp_path):
    (tmp_path / payload.main.parent.name).mkdir()
    config = tmp_path / payload.files[0]
    config.write_text("{")
    for name in payload.files[1:]:
        (tmp_path / name).write_bytes((payload.folder / name).read_bytes())
    with raises(ArtifactError, "genai_config.json"):
        OnnxRuntime().open(replace(payload, folder=tmp_path))
    config.write_bytes(payload.main.read_bytes())
    (tmp_path / payload.files[1]).write_bytes(b"no graph")
    with raises(ArtifactError, "onnxruntime-genai"):
        OnnxRuntime().open(replace(payload, folder=tmp_path))
