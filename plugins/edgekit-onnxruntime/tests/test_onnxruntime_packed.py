"""Weights in 8 and 4 bits, activations in float: the weights stay packed, and the real precision is reported."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from edgekit_onnxruntime import OnnxRuntime

from edgekit.plugin import Payload
from tests.processor_graphs import ROWS, host_target, packed
from tests.wording import mentions


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_weights(bits, tmp_path):
    model, weights = packed(tmp_path, bits)
    target = host_target()
    backend, work = OnnxRuntime(), tmp_path / "built"
    work.mkdir()
    assert backend.supports(model, target).ok
    built = backend.build(model, target, {}, work)
    x = np.random.default_rng(0).standard_normal((3, ROWS)).astype(np.float32)
    with closing(backend.open(Payload(work, built.files, model.part, built.options))) as session:
        outputs, expected = session.run({"x": x})["y"], x @ weights
        precision, layers = session.precision, session.profile({"x": x})
    assert np.linalg.norm(outputs - expected) < 0.03 * np.linalg.norm(expected)
    assert any(mentions(note, "activations") for note in built.notes)
    assert [layer.kind for layer in layers] == ["MatMulNBits"]
    dtype = "i8" if {"avx2", "dotprod"}.intersection(target.device.isa) else "f32"
    assert (precision.main, dict(precision.layers)) == (dtype, {dtype: 1})
