"""The export pass: sizes, lineage, assets, and what it leaves unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper

from edgekit._record import digest_of_file
from edgekit.errors import BuildError, UsageError
from edgekit.frameworks import onnx_graph, onnx_model, onnx_shapes
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model, Reference
from edgekit.passes.export import optimum_exporter
from edgekit.passes.export.export import Export
from edgekit.sources import transformers_model
from edgekit.sources.hf import HuggingFace
from edgekit.sources.onnx_file import OnnxFile
from edgekit.tasks.config import TaskConfig
from tests.wording import mentions, raises

SAVED_BY_5 = Path(__file__).parent.parent / "fixtures" / "transformers5"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return HuggingFace().load(Reference(ref=str(SAVED_BY_5 / "bert")), tmp_path_factory.mktemp("bert"))


def inputs(model: Model) -> dict[str, tuple[int | str, ...]]:
    return {spec.name: spec.shape for spec in model.part.inputs}


def test_sizes_stay_free_unless_named(bert, tmp_path):
    exported = Export().apply(bert, None, tmp_path)
    assert set(inputs(exported).values()) == {("batch_size", "sequence_length")}
    assert exported.part.outputs[0].shape == ("batch_size", 3)
    assert TaskConfig.load(exported.assets) == TaskConfig.load(bert.assets)


@pytest.mark.parametrize("names", [("batch", "sequence"), ("batch_size", "sequence_length")])
def test_named_sizes_become_numbers_and_texts_are_padded_to_them(bert, tmp_path, names):
    exported = Export(shapes=dict(zip(names, (1, 16), strict=True))).apply(bert, None, tmp_path)
    assert set(inputs(exported).values()) == {(1, 16)}
    assert exported.part.outputs[0].shape == (1, 3)
    text = TaskConfig.load(exported.assets).text
    assert (text.pad_to, text.max_length) == (16, 16)
    for note, size in zip(exported.steps[-1].notes, ("batch_size", "sequence_length"), strict=True):
        assert mentions(note, f"'{size}'", "fixed")
    proto = onnx.load(exported.graph)
    assert not [dim for value in proto.graph.value_info for dim in onnx_shapes._dims(value) if dim.dim_param]


def test_lineage_records_what_was_done(bert, tmp_path):
    exported = Export(shapes={"sequence": 8}).apply(bert, None, tmp_path)
    step = exported.steps[-1]
    assert (step.name, step.config) == ("export", {"opset": 18, "shapes": {"sequence": 8}})
    assert step.tools.keys() >= {"torch", "transformers", "optimum", "onnx"}
    assert step.before == bert.info.source_digest and step.after == exported.digest
    assert step.seconds > 0
    assert exported.info.opset == 18 and exported.info.parameters == bert.info.parameters
    exported.save()
    assert Model.load(tmp_path).part == exported.part


def test_the_same_model_exports_to_the_same_bytes(bert, tmp_path):
    exported = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        exported.append(Export().apply(bert, None, tmp_path / name))
    assert exported[0].digest == exported[1].digest


def test_nothing_is_printed(bert, tmp_path, capfd):
    Export().apply(bert, None, tmp_path)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Warning" not in printed.err and "Traceback" not in printed.err


@pytest.mark.parametrize("opset", [17, 20])
def test_the_opset_is_the_one_asked_for(bert, tmp_path, opset):
    exported = Export(opset=opset).apply(bert, None, tmp_path)
    assert onnx_graph.opset(onnx.load(exported.graph)) == opset


def test_opsets_out_of_range_are_refused():
    with raises(UsageError, "opset 9", hint="17 to 22"):
        Export(opset=9)


def test_an_opset_that_the_exporter_does_not_write_is_an_error(tmp_path):
    """torch's exporter writes 18 where it cannot convert down, and only logs it."""
    import torch

    from edgekit.sources.torch_module import load_module

    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean(1)

    model = load_module((Mean(), torch.ones(1, 4)), Reference(ref="live"), tmp_path)
    (tmp_path / "out").mkdir()
    with raises(BuildError, ("opset 18", "17"), hint="opset 18"):
        Export(opset=17).apply(model, None, tmp_path / "out")


def picture_graph(path: Path) -> Path:
    """Write an ONNX graph whose output's height and width follow from its input's."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["out"]),
    ]
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    sides = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"]),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4, "oh", "ow"]),
    ]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_an_onnx_model_only_gets_its_sizes_fixed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    model = OnnxFile().load(Reference(ref=str(picture_graph(tmp_path / "m.onnx"))), tmp_path / "in")
    before = digest_of_file(model.graph)
    exported = Export(shapes={"n": 1, "h": 8, "w": 6, "sequence": 128}).apply(model, None, tmp_path / "out")
    assert (exported.part.inputs[0].shape, exported.part.outputs[0].shape) == ((1, 3, 8, 6), (1, 4, 4, 3))
    assert digest_of_file(model.graph) == before
    assert exported.steps[-1].before == model.digest
    assert exported.original is model.original


def test_nameless_sizes_get_names_by_which_they_are_fixed():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in ("x", "y")]
    values[0].type.tensor_type.shape.dim[1].dim_value = -1
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert onnx_model.part_of(proto).inputs[0].shape == ("x_0", "x_1")
    assert onnx_shapes.fix_shapes(proto, {"x_0": 2, "x_1": 5}) == ("x_0", "x_1")
    assert onnx_model.part_of(proto).outputs[0].shape == (2, 5)


def test_sizes_that_contradict_the_graph_are_refused(tmp_path):
    node = helper.make_node("Add", ["x", "w"], ["y"])
    weight = numpy_helper.from_array(np.ones((1, 5), np.float32), "w")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "m"]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with raises(UsageError, "'m'", ("1", "0")):
        onnx_shapes.fix_shapes(proto, {"m": 0})
    with raises(BuildError, "sizes", "Add", hint="free"):
        onnx_shapes.fix_shapes(proto, {"m": 3, "n": 2})


def test_weights_too_large_for_one_file_get_a_data_file(bert, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    exported = Export().apply(bert, None, tmp_path)
    monkeypatch.setattr(onnx_model, "SINGLE_FILE_BYTES", 1000)
    proto = onnx.load(exported.graph)
    onnx_model.save(proto, tmp_path / "out" / "model.onnx")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"model.onnx", "model.onnx.data"}
    again = onnx_model.load(tmp_path / "out" / "model.onnx")
    wanted = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(exported.graph).graph.initializer}
    for tensor in again.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), wanted[tensor.name])
    assert onnx_model.part_of(again) == exported.part


def test_tensors_are_renamed_wherever_they_are_used():
    branch = [
        helper.make_graph(
            [helper.make_node("Identity", ["x"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])],
        )
        for name in ("then", "else")
    ]
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch[0], else_branch=branch[1])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("flag", TensorProto.BOOL, []), helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx_model.rename(proto, {"x": "samples", "y": "answers"})
    onnx.checker.check_model(proto, full_check=True)
    assert [spec.name for spec in (*onnx_model.part_of(proto).inputs, *onnx_model.part_of(proto).outputs)] == [
        "flag",
        "samples",
        "answers",
    ]


def test_config_reads_back():
    config = json.loads(json.dumps(Export(shapes={"batch": 1}).to_dict()))
    assert Export.from_dict(config) == Export(shapes={"batch": 1})


def test_an_onnx_file_keeps_its_operator_set_and_records_it(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "net.onnx"
    )
    for name in ("loaded", "exported", "refused"):
        (tmp_path / name).mkdir()
    model = OnnxFile().load(Reference(ref=str(tmp_path / "net.onnx")), tmp_path / "loaded")
    exported = Export().apply(model, None, tmp_path / "exported")
    assert exported.steps[-1].config["opset"] == exported.info.opset == 13
    with raises(UsageError, ("opset 13", "17"), hint="--opset"):
        Export(opset=17).apply(model, None, tmp_path / "refused")


class Transforms(transformers.BertPreTrainedModel):
    """A classifier whose operator one of the two exporters does not translate, so that the other has to."""

    def __init__(self, config):
        super().__init__(config)
        self.words = torch.nn.Embedding(config.vocab_size, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask=None, return_dict=None):
        return {"logits": self.head(torch.fft.fft(self.words(input_ids), dim=-1).real.mean(1))}


def described(module, examples) -> Model:
    loaded = transformers_model.from_module(module.eval(), Reference(ref="nets:made"), examples)
    return Model(
        "torch", info=loaded.info, task=loaded.task, module=module, original=loaded.original, examples=examples
    )


def test_what_the_tracer_does_not_translate_is_exported_whole(tmp_path):
    network = Transforms(transformers.BertConfig(vocab_size=40, hidden_size=8))
    ids = torch.randint(0, 40, (2, 6))
    model = described(network, {"input_ids": ids})
    with quiet():
        notes = optimum_exporter.export(model, tmp_path / "model.onnx", 18, lambda specs: {})
    assert mentions(notes[0], "torch.export", "aten::fft_fft")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for batch in (1, 3):
        feeds = np.random.default_rng(batch).integers(0, 40, (batch, 6))
        with torch.no_grad():
            expected = network(torch.from_numpy(feeds))["logits"].numpy()
        np.testing.assert_allclose(session.run(None, {"input_ids": feeds})[0], expected, atol=1e-5)


class Sorts(Transforms):
    """Its sizes follow the values, which no exporter writes down."""

    def forward(self, input_ids, attention_mask=None, return_dict=None):
        return {"logits": torch.fft.fft(self.words(input_ids.flatten()[: int(input_ids.max().item())]), dim=0).real}


def test_what_neither_exporter_translates_names_both_reasons_and_no_step_that_fails(tmp_path):
    model = described(
        Sorts(transformers.BertConfig(vocab_size=40, hidden_size=8)), {"input_ids": torch.arange(12)[None]}
    )
    with raises(BuildError, "'Sorts'", "neither", "aten::fft_fft", hint="no option") as caught, quiet():
        optimum_exporter.export(model, tmp_path / "model.onnx", 18, lambda specs: {})
    assert "factory" not in caught.value.hint
