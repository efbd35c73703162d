"""Reading the layers in TensorRT's log (records of tensorrt-rtx 1.7.1, without strides), and describing them."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgekit_tensorrt.layers import CompiledLayer, Product, compare, dtype_of, label, precision, read

from edgekit.plugin import Precision
from tests.wording import mentions

RECORDED = Path(__file__).parent / "recorded"
CONVOLUTIONS = [Product("/conv1", "CONVOLUTION", "i8"), Product("/conv2", "CONVOLUTION", "i8")]
PRODUCTS = [*CONVOLUTIONS, Product("/fc", "MATRIX_MULTIPLY", "i8")]


def recorded(name: str) -> tuple[CompiledLayer, ...]:
    return read((RECORDED / f"rtx-1.7-{name}.log").read_text())


def test_a_line_gives_kind_types_and_nodes() -> None:
    layers = {layer.name: layer for layer in recorded("int8-sm86")}
    conv = layers["/conv1_myl0_2"]
    assert (conv.kind, conv.inputs, conv.outputs) == ("correlation", ("i8",), ("f32",))
    assert conv.constants == ("i8", "f32", "f32"), "the weights first"
    assert conv.nodes == ("/conv1", "images_DequantizeLinear", "/conv1.w_DequantizeLinear")
    assert conv.computes_in == "i8"
    assert len(layers) == 8, "the tensors and the metadata that follow are not layers"


def test_layers_that_hold_no_values_compute_in_nothing() -> None:
    shapes = recorded("int8-sm86")[0]
    assert (shapes.kind, shapes.computes_in) == ("shape_call", None)


def test_quantizing_is_arithmetic_in_floats() -> None:
    quantize = recorded("int8-sm86")[1]
    assert (quantize.inputs, quantize.outputs, quantize.computes_in) == (("f32",), ("i8",), "f32")


def test_int8_that_runs_in_int8() -> None:
    layers = recorded("int8-sm86")
    assert precision(layers, PRODUCTS) == Precision("i8", {"f32": 4, "i8": 3})
    same = ("2 convolutions run in int8, as in the graph", "1 matrix product runs in int8, as in the graph")
    assert compare(PRODUCTS, layers) == (same, ())


def test_int8_that_silently_runs_in_float() -> None:
    layers = recorded("int8-sm75")
    assert precision(layers, CONVOLUTIONS) == Precision("f32", {"f32": 7})
    same, differ = compare(CONVOLUTIONS, layers)
    assert same == () and len(differ) == 1
    assert mentions(differ[0], ("int8", "2 of 2 convolutions", "fp32", "'/conv1'", "'/conv2'"))


def test_packed_weights_differ_from_arithmetic() -> None:
    layers = recorded("int4-sm86")
    assert precision(layers, [Product("fc", "MATRIX_MULTIPLY", "i4-weights")]) == Precision("f32", {"i4-weights": 1})


def test_a_fusion_that_casts_within_is_named_after_its_weights() -> None:
    line = (
        "Layers:\nName: f, LayerType: runtime_fusion, Inputs: [ { Name: x, Dimensions: [1,64], Datatype: Float }],"
        " Constants: [{ Name: s, Dimensions: [1], Datatype: Float }, { Name: w, Dimensions: [10,64], Datatype: Half }],"
        " Outputs: [ { Name: y, Dimensions: [1,10], Datatype: Float }], TacticName: t, StreamId: 0, Metadata: "
    )
    assert [layer.computes_in for layer in read(line)] == ["f16"]


def test_a_mixed_engine_is_counted() -> None:
    layers = [
        CompiledLayer(f"c{index}", "correlation", (kind,), (kind,), (kind,), (f"/c{index}",))
        for index, kind in enumerate(["i8", "f16", "i8", "f16", "f16"])
    ]
    same, differ = compare([Product(f"/c{index}", "CONVOLUTION", "i8") for index in range(5)], layers)
    assert len(same) == 1 and mentions(same[0], "2 convolutions", "int8")
    assert len(differ) == 1
    assert mentions(differ[0], ("int8", "3 of 5 convolutions", "fp16", "'/c1'", "'/c3'", "'/c4'"))
    assert precision(layers) == Precision("f16", {"f16": 3, "i8": 2})


def test_a_product_in_an_elementwise_kernel_is_named_after_its_weights() -> None:
    layers = [CompiledLayer("__myl_CastReshMulSum", "kgen", ("f32",), ("f16",), ("f16",), ("cast", "/fc"))]
    assert layers[0].computes_in == "f32"
    same, differ = compare([Product("/fc", "MATRIX_MULTIPLY", "f16")], layers)
    assert len(same) == 1 and mentions(same[0], "1 matrix product", "fp16") and differ == ()


def test_a_product_without_a_layer_is_noted() -> None:
    same, differ = compare([Product("/gone", "MATRIX_MULTIPLY", "f16")], recorded("int8-sm86"))
    assert len(same) == 1 and mentions(same[0], ("1 matrix product", "'/gone'"))
    assert differ == ()


def test_names_with_brackets_and_commas_are_read() -> None:
    line = (
        "Layers:\nName: odd, ] [name_myl0_0, LayerType: gemm, Inputs: [ { Name: x, Dimensions: [4], Datatype: Half }],"
        " Constants: [], Outputs: [ { Name: y, Dimensions: [4], Datatype: Half }], TacticName: t, StreamId: 0,"
        " Metadata: [ONNX Layer: odd ] [name]\x1f[ONNX Layer: b]"
    )
    assert [layer.nodes for layer in read(line)] == [("odd ] [name", "b")]


@pytest.mark.parametrize("text", ["", "Layers:\n", "Layers:\nsomething else\n", "no heading"])
def test_a_log_without_layers_has_no_precision(text: str) -> None:
    assert read(text) == ()
    assert precision(read(text)) is None


def test_types_have_one_name_in_every_spelling() -> None:
    assert [dtype_of(name) for name in ("Half", "HALF", "BF16", "BFloat16", "FP8", "Int4")] == [
        "f16", "f16", "bf16", "bf16", "f8", "i4",
    ]  # fmt: skip
    assert [label(dtype) for dtype in ("i8", "i4-weights", "bf16")] == ["int8", "int4 weights", "bf16"]
