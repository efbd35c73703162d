"""Models: their files, their digest and their record."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import ArtifactError, UsageError
from edgekit.model import RECORD_FILE, InputHints, Model, ModelInfo, Part, State, Step
from edgekit.spec import TensorSpec
from tests.wording import raises

SPEC = (TensorSpec("x", "f32", ("N", 4)),)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "labels.txt").write_text("a\n")
    return Model("onnx", (Part("model", "model.onnx", SPEC, SPEC),), task="task", folder=tmp_path)


def test_paths(model: Model) -> None:
    assert model.graph == model.folder / "model.onnx"
    assert [path.name for path in model.files()] == ["labels.txt", "model.onnx"]


def test_digest_is_of_names_and_bytes_and_not_of_the_record(model: Model) -> None:
    first = replace(model).digest
    model.save()
    assert replace(model).digest == first
    (model.folder / "assets" / RECORD_FILE).write_text("an asset of this name is a file as any other")
    second = replace(model).digest
    assert second != first
    (model.assets / "labels.txt").rename(model.assets / "names.txt")
    assert replace(model).digest not in (first, second)


def test_save_and_load(model: Model) -> None:
    step = Step("export", {"opset": 17}, {"torch": "2"}, "a", "b", 0.5)
    described = replace(model.with_step(step), precision="f16", info=ModelInfo("Net", 5, trusted=("code",)))
    described = replace(described, input_hints=InputHints(("batch",), {"batch": 2}, {"ids": (0, 3)}, 30))
    described.save()
    assert Model.load(model.folder) == described
    assert sorted(path.name for path in model.folder.iterdir()) == ["assets", "model.json", "model.onnx"]


def test_failed_save_leaves_the_old_record(model: Model) -> None:
    model.save()
    before = (model.folder / RECORD_FILE).read_text()
    with raises(TypeError, "architecture"):
        replace(model, info=ModelInfo(architecture=object())).save()  # type: ignore[arg-type]
    assert (model.folder / RECORD_FILE).read_text() == before
    assert len(list(model.folder.iterdir())) == 3


@pytest.mark.parametrize(
    "damage", ["missing", "truncated", "another key", "graph gone", "graph outside", "not a table"]
)
def test_damaged_records_are_artifact_errors(model: Model, damage: str) -> None:
    model.save()
    path = model.folder / RECORD_FILE
    data = json.loads(path.read_text())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_text(path.read_text()[:40])
    elif damage == "another key":
        path.write_text(json.dumps({**data, "extra": 1}))
    elif damage == "graph gone":
        model.graph.unlink()
    elif damage == "graph outside":
        data["parts"][0]["file"] = "../model.onnx"
        path.write_text(json.dumps(data))
    else:
        path.write_text("[]")
    with raises(ArtifactError, re.compile(r"model\.json'|'model\.onnx'")):
        Model.load(model.folder)


def test_one_graph_is_expected_where_one_is_asked_for(model: Model) -> None:
    two = replace(model, parts=(*model.parts, Part("decoder", "decoder.onnx", SPEC, SPEC)))
    with raises(ArtifactError, ("onnx", "2", "model, decoder")):
        _ = two.part
    with raises(ArtifactError, ("torch", "0")):
        _ = Model("torch").graph


def test_a_model_without_a_folder_has_no_files(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    monkeypatch.chdir(model.folder)
    with raises(ArtifactError, "torch", "folder"):
        _ = Model("torch").digest


@pytest.mark.parametrize("file", ["/etc/passwd", "../model.onnx", "a/../../b", "", "."])
def test_graphs_stay_inside_the_folder(file: str) -> None:
    with raises(UsageError, f"'{file}'", "'model'"):
        Part("model", file, SPEC, SPEC)


def test_parts_have_different_names() -> None:
    with raises(UsageError, "model, model"):
        Model("onnx", (Part("model", "a", (), ()), Part("model", "b", (), ())))


@pytest.fixture
def translator(tmp_path: Path) -> Model:
    """An encoder, and a decoder that reads what the encoder wrote and passes its own keys on."""
    hidden, key = TensorSpec("hidden", "f32", (1, "N", 8)), TensorSpec("key", "f32", (1, "P", 8))
    for name in ("encoder.onnx", "decoder.onnx"):
        (tmp_path / name).write_text(name)
    parts = (
        Part("encoder", "encoder.onnx", SPEC, (hidden,), writes={"hidden": "hidden"}),
        Part(
            "decoder",
            "decoder.onnx",
            (TensorSpec("ids", "i64", (1, 1)), replace(hidden, name="encoded"), replace(key, name="past.0.key")),
            (TensorSpec("logits", "f32", (1, 1, 9)), replace(key, name="present.0.key")),
            reads={"encoded": "hidden", "past.0.key": "past.0.key"},
            writes={"present.0.key": "past.0.key"},
        ),
    )
    states = (State("hidden", hidden), State("past.0.key", key, "empty"))
    return Model("onnx", parts, states, "translation", folder=tmp_path)


def test_states_are_saved_and_loaded(translator: Model) -> None:
    translator.save()
    assert Model.load(translator.folder) == translator


def test_one_part_is_a_model_with_its_own_states(translator: Model, model: Model) -> None:
    encoder = translator.only("encoder")
    assert encoder.part.name == "encoder" and encoder.graph == translator.folder / "encoder.onnx"
    assert [state.name for state in encoder.states] == ["hidden"]
    assert encoder.task == "translation"
    assert [state.name for state in translator.only("decoder").states] == ["hidden", "past.0.key"]
    assert model.only("model") is model
    with raises(UsageError, ("'encode'", "'encoder'")):
        translator.only("encode")


@pytest.mark.parametrize("verb", ["reads", "writes"])
def test_parts_name_tensors_and_states_that_are_there(verb: str) -> None:
    with raises(UsageError, "'decoder'", verb, "'z'"):
        Part("decoder", "a", SPEC, SPEC, **{verb: {"z": "hidden"}})
    part = Part("decoder", "a", SPEC, SPEC, **{verb: {"x": "hiden"}})
    with raises(UsageError, ("'hiden'", "'hidden'")) as caught:
        Model("onnx", (part,), (State("hidden", SPEC[0]),))
    assert caught.value.hint == "its states: hidden"


def test_states_have_different_names() -> None:
    with raises(UsageError, "states", "a, a"):
        Model("onnx", (), (State("a", SPEC[0]), State("a", SPEC[0])))


def test_live_objects_are_neither_saved_nor_compared(model: Model) -> None:
    live = replace(model, module=object())
    assert live == model
    assert "module" not in live.to_dict() and "folder" not in live.to_dict()
