"""ONNX files are used as they are, or refused with the reason."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit import registry
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.frameworks import onnx_model
from edgekit.model import Reference
from edgekit.plugin import Payload
from edgekit.sources import onnx_reference
from edgekit.sources.onnx_file import OnnxFile
from edgekit.target import target
from edgekit.tasks.config import TaskConfig
from tests.wording import mentions, raises


def linear(weight: np.ndarray | None = None, *, op: str = "MatMul", domain: str = "") -> onnx.ModelProto:
    """Return a graph of one product: x [batch, 4] to y [batch, 3]."""
    weight = np.arange(12, dtype=np.float32).reshape(4, 3) if weight is None else weight
    node = helper.make_node(op, ["x", "w"], ["y"], name="only", domain=domain)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="us")


def saved(path: Path, proto: onnx.ModelProto, **options) -> Path:
    onnx.save(proto, path, **options)
    return path


def test_the_file_is_copied_byte_for_byte_and_run_as_it_is(tmp_path, load):
    path = saved(tmp_path / "model.onnx", linear())
    model = load(OnnxFile(), path)
    assert model.graph.read_bytes() == path.read_bytes()
    assert (model.format, model.task, model.info.opset, model.info.parameters) == ("onnx", "tensor", 18, 12)
    assert [str(spec) for spec in (*model.part.inputs, *model.part.outputs)] == ["x:f32[batch,4]", "y:f32[batch,3]"]
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(model.original.run({"x": x})["y"], np.arange(12).reshape(4, 3))
    assert model.original.framework.startswith("onnxruntime ")
    with raises(BuildError, "x"):
        model.original.run({"x": x[:, :2]})


def test_weights_that_do_not_have_their_shape_are_refused(tmp_path, load):
    proto = linear()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-2]
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with raises(UsageError, "model.onnx'", hint="again"):
        load(OnnxFile(), path)


def test_an_operator_whose_name_is_not_text_is_refused(tmp_path, load):
    content = linear().SerializeToString().replace(b"MatMul", b"\xd6\x8f\xff\xfe\xfd\xfc")
    (tmp_path / "model.onnx").write_bytes(content)
    with raises(UsageError, "model.onnx'", hint="again"):
        load(OnnxFile(), tmp_path / "model.onnx")


def test_external_data_comes_along(tmp_path, load, run_graph):
    path = tmp_path / "model.onnx"
    saved(path, linear(), save_as_external_data=True, location="weights.bin", size_threshold=0)
    source = OnnxFile()
    first = source.digest(Reference(ref=str(path)))
    model = load(source, path)
    x = {"x": np.eye(4, dtype=np.float32)}
    np.testing.assert_array_equal(run_graph(model, x)["y"], model.original.run(x)["y"])
    assert [file.name for file in model.files()] == ["task.json", "model.onnx"]
    data = tmp_path / "weights.bin"
    data.write_bytes(bytes(len(data.read_bytes())))
    assert source.digest(Reference(ref=str(path))) != first
    data.unlink()
    with raises(UsageError, "model.onnx'", "'weights.bin'", hint="'weights.bin'"):
        load(source, path)


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "link to the model", "folder below"])
def test_external_data_behind_links_is_read(tmp_path, load, kind):
    store = tmp_path / "store"
    (store / "below").mkdir(parents=True)
    location = "below/weights.bin" if kind == "folder below" else "weights.bin"
    path = saved(store / "model.onnx", linear(), save_as_external_data=True, location=location, size_threshold=0)
    data = store / location
    if kind == "symbolic link":  # as the hub's cache
        (tmp_path / "blobs").mkdir()
        for file in (path, data):
            file.rename(tmp_path / "blobs" / file.name)
            file.symlink_to(Path("..") / "blobs" / file.name)
    elif kind == "hard link":
        os.link(data, store / "again.bin")
    elif kind == "link to the model":
        (tmp_path / "mine.onnx").symlink_to(path)
        path = tmp_path / "mine.onnx"
    x = np.eye(4, dtype=np.float32)
    assert OnnxFile().digest(Reference(ref=str(path)))
    np.testing.assert_array_equal(load(OnnxFile(), path).original.run({"x": x})["y"], np.arange(12).reshape(4, 3))


@pytest.mark.parametrize("location", ["../outside.bin", "{folder}/outside.bin", "below/../../outside.bin"])
def test_external_data_outside_the_folder_is_not_read(tmp_path, load, location):
    (tmp_path / "mine" / "below").mkdir(parents=True)
    path = saved(tmp_path / "mine" / "model.onnx", linear(), save_as_external_data=True, location="w", size_threshold=0)
    (tmp_path / "mine" / "w").rename(tmp_path / "outside.bin")
    proto = onnx.load(path, load_external_data=False)
    name = location.format(folder=tmp_path)
    next(entry for entry in proto.graph.initializer[0].external_data if entry.key == "location").value = name
    path.write_bytes(proto.SerializeToString())
    with raises(UsageError, f"'{name}'", "outside"):
        load(OnnxFile(), path)


@pytest.mark.parametrize(("key", "value", "fact"), [("offset", "-4", "'-4'"), ("length", "9999", "'w.bin'")])
def test_external_data_that_does_not_fit_is_refused(tmp_path, load, key, value, fact):
    path = saved(tmp_path / "model.onnx", linear(), save_as_external_data=True, location="w.bin", size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    next(entry for entry in proto.graph.initializer[0].external_data if entry.key == key).value = value
    path.write_bytes(proto.SerializeToString())
    with raises(UsageError, fact, "external data"):
        load(OnnxFile(), path)


@pytest.mark.parametrize("ir_version", [3, 4])
def test_weights_are_taken_out_of_the_inputs(tmp_path, load, run_graph, ir_version):
    proto = linear()
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3]))
    proto.ir_version = ir_version
    del proto.opset_import[:]
    proto.opset_import.extend([helper.make_opsetid("", 8)])
    model = load(OnnxFile(), saved(tmp_path / "old.onnx", proto))
    assert [spec.name for spec in model.part.inputs] == ["x"]
    assert [value.name for value in onnx.load(model.graph).graph.input] == ["x"]
    x = {"x": np.eye(4, dtype=np.float32)}
    np.testing.assert_array_equal(run_graph(model, x)["y"], np.arange(12).reshape(4, 3))


def test_an_opset_before_7_is_raised(tmp_path, load):
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], broadcast=1),
        helper.make_node("PRelu", ["h", "s"], ["y"]),
    ]
    arrays = {"w": weight, "b": bias, "s": np.full(1, 0.25, np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    model = load(OnnxFile(), saved(tmp_path / "old.onnx", proto))
    assert model.info.opset >= 7
    mentions(" ".join(model.info.notes), "6", "7")
    x = rng.standard_normal((2, 4)).astype(np.float32)
    expected = x @ weight + bias
    expected = np.where(expected < 0, 0.25 * expected, expected)
    np.testing.assert_allclose(model.original.run({"x": x})["y"], expected, rtol=1e-5, atol=1e-6)


def test_local_functions_are_inlined(tmp_path, load):
    double = helper.make_function(
        "mine", "Twice", ["v"], ["o"], [helper.make_node("Add", ["v", "v"], ["o"])], [helper.make_opsetid("", 18)]
    )
    proto = linear()
    proto.graph.node[0].output[0] = "h"
    proto.graph.node.append(helper.make_node("Twice", ["h"], ["y"], domain="mine"))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.functions.append(double)
    model = load(OnnxFile(), saved(tmp_path / "functions.onnx", proto))
    inlined = onnx.load(model.graph)
    assert not inlined.functions and [node.op_type for node in inlined.graph.node] == ["MatMul", "Add"]
    mentions(" ".join(model.info.notes), "functions")
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(model.original.run({"x": x})["y"], 2 * np.arange(12).reshape(4, 3))


def test_an_operator_that_onnxruntime_lacks_runs_by_its_definition_where_the_graph_is_small(
    tmp_path, load, monkeypatch
):
    values = [helper.make_tensor_value_info(name, TensorProto.INT16, ["n"]) for name in ("a", "b", "y")]
    graph = helper.make_graph([helper.make_node("Max", ["a", "b"], ["y"], "most")], "g", values[:2], values[2:])
    path = saved(
        tmp_path / "m.onnx", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    original = load(OnnxFile(), path).original
    assert original.framework.startswith("onnx ") and "reference" in original.framework
    feeds = {"a": np.array([1, 5], np.int16), "b": np.array([3, 2], np.int16)}
    assert original.run(feeds)["y"].tolist() == [3, 5]
    with raises(BuildError, "original"):
        original.run({"a": feeds["a"]})
    monkeypatch.setattr(onnx_reference, "MOST_NODES", 0)
    with raises(UnsupportedError, "onnxruntime", "'Max'"):
        load(OnnxFile(), path)


@pytest.mark.nightly
def test_a_graph_above_2_gb_is_read_and_built(tmp_path, load):
    rows, columns = 1_100_000, 500  # 2.2 GB, of which the disk holds the first rows
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, columns])
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "big.bin"), ("length", str(rows * columns * 4))):
        table.external_data.add(key=key, value=value)
    first = np.random.default_rng(0).standard_normal((10, columns)).astype(np.float32)
    with (tmp_path / "big.bin").open("wb") as file:
        first.tofile(file)
        file.truncate(rows * columns * 4)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"], "gather")],
        "big",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])],
        [table],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = load(OnnxFile(), saved(tmp_path / "big.onnx", helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    ids = {"ids": np.array([3, rows - 1])}
    np.testing.assert_array_equal(model.original.run(ids)["y"], [first[3], np.zeros(columns)])
    (tmp_path / "built").mkdir()
    backend = registry.backend("onnxruntime")
    built = backend.build(model, target.load("host"), {}, tmp_path / "built")
    with closing(backend.open(Payload(tmp_path / "built", built.files, model.part, built.options))) as session:
        np.testing.assert_array_equal(session.run(ids)["y"], [first[3], np.zeros(columns)])


def test_the_precision_is_the_files_own(tmp_path, load):
    assert load(OnnxFile(), saved(tmp_path / "f32.onnx", linear())).precision == "f32"
    half = linear(np.ones((4, 3), np.float16))
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    assert load(OnnxFile(), saved(tmp_path / "f16.onnx", half)).precision == "f16"
    quantized = linear()
    quantized.graph.node[0].input[0] = "d"
    scale = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(128), "z")]
    quantized.graph.initializer.extend(scale)
    quantized.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]))
    quantized.graph.node.insert(0, helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]))
    assert load(OnnxFile(), saved(tmp_path / "i8.onnx", quantized)).precision == "i8"


def test_operators_that_the_runtime_lacks_are_named(tmp_path, load):
    path = saved(tmp_path / "model.onnx", linear(op="Frobnicate", domain="com.acme"))
    with pytest.raises(UnsupportedError) as caught:
        load(OnnxFile(), path)
    (problem,) = caught.value.problems
    assert mentions(problem, ("'com.acme:Frobnicate'", "'only'"))
    assert str(tmp_path) not in caught.value.message


def spoiled(path: Path, how: str) -> Path:
    weight = np.ones((4, 3), np.float32)
    if how == "nan":
        weight[1, 1] = np.nan
        return saved(path, linear(weight))
    if how == "invalid":
        proto = linear()
        proto.graph.node[0].input[1] = "nothing"
        return saved(path, proto)
    content = saved(path, linear()).read_bytes()
    path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "text": b"not a model at all"}[how])
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "'w'"),
        ("invalid", "'nothing'"),
        ("empty", "empty"),
        ("truncated", "ONNX"),
        ("text", "ONNX"),
    ],
)
def test_spoiled_files_are_refused(tmp_path, load, how, message):
    with raises(UsageError, "model.onnx'", message):
        load(OnnxFile(), spoiled(tmp_path / "model.onnx", how))


def test_a_missing_file_is_reported_with_similar_names(tmp_path):
    saved(tmp_path / "model.onnx", linear())
    with raises(UsageError, ("mdoel.onnx'", "'model.onnx'")):
        OnnxFile().check(Reference(ref=str(tmp_path / "mdoel.onnx")))


def test_masks_of_minus_infinity_are_sound(tmp_path, load):
    proto = linear()
    proto.graph.initializer.append(numpy_helper.from_array(np.array(-np.inf, np.float32), "fill"))
    load(OnnxFile(), saved(tmp_path / "model.onnx", proto))


@pytest.mark.parametrize(("shape", "layout"), [(["n", 3, "h", "w"], "nchw"), (["n", "h", "w", 3], "nhwc")])
def test_a_processor_can_be_named(tmp_path, load, export, shape, layout):
    node = helper.make_node("Relu", ["pictures"], ["y"])
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("pictures", "y")]
    graph = helper.make_graph([node], "g", sides[:1], sides[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = saved(tmp_path / "model.onnx", proto)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 30}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    options = {"processor": str(tmp_path / "preprocessor_config.json"), "task": "image-classification"}
    model = load(OnnxFile(), path, **options)
    image = TaskConfig.load(model.assets).image
    assert (image.input, image.layout, image.size) == ("pictures", layout, (20, 30))
    fixed = export(model).part.inputs[0].shape
    assert fixed == (("n", 3, 20, 30) if layout == "nchw" else ("n", 20, 30, 3))
    assert OnnxFile().digest(Reference(ref=str(path))) != OnnxFile().digest(Reference(ref=str(path), **options))


def test_a_detector_from_elsewhere_runs_as_it_is(assets, load, export, run_graph):
    path = assets / "fastestdet" / "FastestDet.onnx"
    model = load(OnnxFile(), path)
    exported = export(model)
    assert exported.graph.read_bytes() == path.read_bytes()
    feeds = {"input.1": np.random.default_rng(0).random((1, 3, 352, 352), np.float32)}
    np.testing.assert_allclose(run_graph(exported, feeds)["758"], model.original.run(feeds)["758"], atol=1e-4)


@pytest.mark.parametrize("place", ["node", "input", "initializer", "attribute", "key"])
def test_names_that_are_not_utf8_are_refused(tmp_path, place):
    proto = linear()
    if place == "node":
        proto.graph.node[0].name = "QXQX"
    elif place == "input":
        proto.graph.input[0].name = proto.graph.node[0].input[0] = "QXQX"
    elif place == "initializer":
        proto.graph.initializer[0].name = proto.graph.node[0].input[1] = "QXQX"
    elif place == "attribute":
        proto.graph.node[0].attribute.append(helper.make_attribute("QXQX", 1))
    else:
        proto.metadata_props.add(key="QXQX", value="a")
    (tmp_path / "a.onnx").write_bytes(proto.SerializeToString().replace(b"QXQX", b"Q\xff\xc3Q"))
    with raises(UsageError, "a.onnx'", "UTF-8", hint="UTF-8"):
        onnx_model.load(tmp_path / "a.onnx")
