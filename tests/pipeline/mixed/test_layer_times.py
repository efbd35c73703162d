"""Which layer a kernel's time belongs to, on profiles made up for the purpose."""

from __future__ import annotations

from edgekit.layers import GraphLayer, LayerMap, LayerTime
from edgekit.pipeline.layer_times import attribute, fastest

GRAPH = LayerMap(
    (
        GraphLayer("conv1", "Conv", ("c1", "relu1", "r1"), pairs=("x_QuantizeLinear", "x_DequantizeLinear")),
        GraphLayer("conv2", "Conv", ("c2", "add", "a2"), pairs=("r1_QuantizeLinear",), after=("conv1",)),
        GraphLayer("fc", "Gemm", ("y",), pairs=("a2_QuantizeLinear",), after=("conv2",)),
    ),
    elsewhere=("shape", "s"),
)


def kernel(name: str, time_ms: float, *covers: str, kind: str = "Kernel") -> LayerTime:
    return LayerTime(name, kind, "f32", time_ms, covers)


def test_a_kernel_serves_the_layer_that_it_computes_or_stands_behind() -> None:
    times = attribute(GRAPH, [kernel("conv1", 1.0), kernel("relu1", 0.25), kernel("conv2", 2.0), kernel("fc", 4.0)])
    assert times.layers == {"conv1": 1.25, "conv2": 2.0, "fc": 4.0}
    assert times.total == 7.25


def test_a_fused_kernel_is_known_by_what_it_covers() -> None:
    # OpenVINO names a fused layer by one of its operators, and lists all; the layer's own name decides.
    fused = kernel("add", 2.0, "relu1", "add", "conv2")
    assert attribute(GRAPH, [fused]).layers == {"conv2": 2.0}
    # onnxruntime names a convolution in its own layout by its output.
    assert attribute(GRAPH, [kernel("r1_nchwc", 1.0, "r1_nchwc", "r1")]).layers == {"conv1": 1.0}


def test_what_converts_an_input_counts_for_its_reader_and_is_told_apart() -> None:
    times = attribute(GRAPH, [kernel("conv1", 1.0), kernel("r1_QuantizeLinear", 0.5), kernel("conv2", 2.0)])
    assert times.layers == {"conv1": 1.0, "conv2": 2.5}
    assert times.conversions == {"conv2": 0.5}


def test_what_reorders_a_converted_value_is_a_part_of_the_conversion() -> None:
    kernels = [kernel("conv1", 1.0), kernel("r1_QuantizeLinear", 0.5), kernel("Transpose", 0.25), kernel("conv2", 2.0)]
    times = attribute(GRAPH, [*kernels, kernel("Transpose_1", 0.125)])
    assert times.layers == {"conv1": 1.0, "conv2": 2.875}
    assert times.conversions == {"conv2": 0.75}, "not what reorders the layer's result"


def test_a_pair_that_is_fused_into_a_layer_is_no_conversion() -> None:
    times = attribute(GRAPH, [kernel("conv1", 1.0, "conv1", "r1_QuantizeLinear")])
    assert times.layers == {"conv1": 1.0}
    assert times.conversions == {}


def test_a_nameless_kernel_serves_what_ran_before_it_and_the_first_ones_what_comes() -> None:
    times = attribute(
        GRAPH,
        [
            kernel("Reorder", 0.125),
            kernel("conv1", 1.0),
            kernel("Reorder_1", 0.25),
            kernel("conv2", 2.0),
            kernel("Reorder_2", 0.5),
        ],
    )
    assert times.layers == {"conv1": 1.375, "conv2": 2.5}
    assert times.elsewhere == 0.0


def test_what_stands_before_every_layer_belongs_to_none() -> None:
    times = attribute(GRAPH, [kernel("shape", 0.5), kernel("Cast", 0.25), kernel("conv1", 1.0)])
    assert times.layers == {"conv1": 1.0}
    assert times.elsewhere == 0.75


def test_a_kernel_of_several_layers_is_shared_out() -> None:
    assert attribute(GRAPH, [kernel("attention", 3.0, "conv1", "conv2")]).layers == {"conv1": 1.5, "conv2": 1.5}


def test_what_was_folded_into_a_layer_stands_for_it() -> None:
    # OpenVINO makes one kernel of two products and what is between them, and names them as they were before int8.
    graph = LayerMap(
        (GraphLayer("fc1/Fused", "Gemm", ("fc1", "bias", "gate"), folded=("fc1", "bias")), GRAPH.layers[2])
    )
    assert attribute(graph, [kernel("y", 2.0, "fc1", "bias", "gate", "fc")]).layers == {"fc1/Fused": 1.0, "fc": 1.0}


def test_a_profile_without_any_known_name_gives_no_layer() -> None:
    times = attribute(GRAPH, [kernel("a", 1.0), kernel("b", 2.0)])
    assert times.layers == {}
    assert times.total == 3.0


def test_the_fastest_of_several_profiles_is_taken_kernel_by_kernel() -> None:
    first = [kernel("a", 1.0), kernel("b", 5.0)]
    second = [kernel("a", 2.0), kernel("b", 3.0), kernel("c", 1.0)]
    assert {item.name: item.time_ms for item in fastest([first, second])} == {"a": 1.0, "b": 3.0, "c": 1.0}
    assert [item.name for item in fastest([first, second])] == ["a", "b", "c"]
