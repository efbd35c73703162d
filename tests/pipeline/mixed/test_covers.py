"""Both runtimes tell which layers their kernels compute: each layer of a graph is found once, in float and in int8."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgekit import registry
from edgekit.layers import LayerMap, LayerTime
from edgekit.model import Model
from edgekit.passes.quantize.static import QuantizeStatic
from edgekit.pipeline.layer_times import attribute
from edgekit.plugin import Payload
from edgekit.target import target

from .conftest import LAYERS

PRODUCTS = ("Conv", "MatMul", "Gemm", "FullyConnected")
"""What the kinds of kernels that compute a layer are called in both runtimes, but for some that compute several."""


@pytest.fixture(scope="module")
def layer_map(in_float: Model, tmp_path_factory: pytest.TempPathFactory) -> LayerMap:
    return QuantizeStatic().layer_map(in_float, tmp_path_factory.mktemp("layer_map"))


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["in_float", "int8"])
def kernels(
    backend: str, feed: dict[str, np.ndarray], request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[LayerTime, ...]:
    """Profile the small network in either precision on either runtime."""
    model: Model = request.getfixturevalue(request.param)
    plugin = registry.backend(backend)
    built = plugin.build(model, target.load("host"), {"threads": 1}, tmp_path)
    with closing(plugin.open(Payload(tmp_path, built.files, model.part, built.options))) as session:
        return session.profile(feed)


def test_every_layer_is_computed_by_one_kernel(layer_map: LayerMap, kernels: tuple[LayerTime, ...]) -> None:
    own = {name for layer in layer_map.layers for name in (layer.name, *layer.folded)}
    computing = [
        kernel
        for kernel in kernels
        if any(word in kernel.kind for word in PRODUCTS) or not own.isdisjoint(kernel.covers)
    ]
    computed = [name for kernel in computing for name in attribute(layer_map, [kernel]).layers]
    assert sorted(computed) == sorted(LAYERS), [(item.kind, item.name, item.covers) for item in computing]


def test_no_time_is_lost(layer_map: LayerMap, kernels: tuple[LayerTime, ...]) -> None:
    times = attribute(layer_map, kernels)
    assert set(times.layers) == set(LAYERS)
    assert times.total == pytest.approx(sum(kernel.time_ms for kernel in kernels))
