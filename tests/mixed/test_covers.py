"""Both runtimes tell which layers their kernels compute: each layer of a graph is found once, in float and in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import registry, target
from edgekit.layer import Anatomy, LayerTime
from edgekit.mixed.attribution import attribute
from edgekit.model import Model
from edgekit.passes.quantize_static import QuantizeStatic
from edgekit.plugin import Payload

from .conftest import LAYERS

PRODUCTS = ("Conv", "MatMul", "Gemm", "FullyConnected")
"""What the kinds of kernels that compute a layer are called in both runtimes, but for some that compute several."""


@pytest.fixture(scope="module")
def anatomy(in_float: Model, tmp_path_factory: pytest.TempPathFactory) -> Anatomy:
    return QuantizeStatic().anatomy(in_float, tmp_path_factory.mktemp("anatomy"))


def profile(backend: str, model: Model, feed: dict[str, np.ndarray], folder: Path) -> tuple[LayerTime, ...]:
    plugin = registry.backend(backend)
    built = plugin.build(model, target.load("host"), {"threads": 1}, folder)
    with plugin.open(Payload(folder, built.files, built.inputs, built.outputs, built.options)) as session:
        return session.profile(feed)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", ["in_float", "int8"])
def test_every_layer_is_computed_by_one_kernel(
    backend: str,
    precision: str,
    anatomy: Anatomy,
    feed: dict[str, np.ndarray],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    kernels = profile(backend, request.getfixturevalue(precision), feed, tmp_path)
    own = {name for layer in anatomy.layers for name in (layer.name, *layer.folded)}
    computing = [
        kernel
        for kernel in kernels
        if any(word in kernel.kind for word in PRODUCTS) or not own.isdisjoint(kernel.covers)
    ]
    computed = [name for kernel in computing for name in attribute(anatomy, [kernel]).layers]
    assert sorted(computed) == sorted(LAYERS), [(one.kind, one.name, one.covers) for one in computing]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", ["in_float", "int8"])
def test_no_time_is_lost(
    backend: str,
    precision: str,
    anatomy: Anatomy,
    feed: dict[str, np.ndarray],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    kernels = profile(backend, request.getfixturevalue(precision), feed, tmp_path)
    found = attribute(anatomy, kernels)
    assert set(found.layers) == set(LAYERS)
    assert found.total == pytest.approx(sum(kernel.time_ms for kernel in kernels))
