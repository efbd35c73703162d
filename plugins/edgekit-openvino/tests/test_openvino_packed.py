"""Weights in 8 and 4 bits, activations in float: the weights stay packed, and the real precision is reported."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from edgekit_openvino import OpenVino

from edgekit.plugin import Payload
from tests.processor_graphs import COLUMNS, ROWS, host_target, packed


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_weights(bits, tmp_path):
    model, weights = packed(tmp_path, bits)
    target = host_target()
    backend, work = OpenVino(), tmp_path / "built"
    work.mkdir()
    assert backend.supports(model, target).ok
    built = backend.build(model, target, {}, work)
    x = np.random.default_rng(0).standard_normal((3, ROWS)).astype(np.float32)
    with closing(backend.open(Payload(work, built.files, model.part, built.options))) as session:
        outputs, expected = session.run({"x": x})["y"], x @ weights
        precision, layers = session.precision, session.profile({"x": x})
    assert np.linalg.norm(outputs - expected) < 1e-4 * np.linalg.norm(expected), "activations are not rounded"
    assert (precision.main, dict(precision.layers)) == ("f32", {f"i{bits}-weights": 1})
    assert f"i{bits}-weights" in {layer.precision for layer in layers}
    assert (work / "model.bin").stat().st_size < 4 * ROWS * COLUMNS * bits / 32 * 1.5
