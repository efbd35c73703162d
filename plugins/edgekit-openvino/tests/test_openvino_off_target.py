"""A model for another machine is judged as that machine computes it: Q/DQ in float, floats rounded to its type."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from edgekit_openvino import OpenVino
from edgekit_openvino.options import Options
from edgekit_openvino.rounding import with_rounding
from edgekit_openvino.session import compile_model, runtime

from edgekit.plugin import Payload
from tests import processor_backend
from tests.processor_backend import difference
from tests.processor_graphs import CONV_X, conv_expected, conv_net, host_target, int8_net

build = partial(processor_backend.build, OpenVino())

XEON = host_target(arch="x86_64", isa=("avx2", "avx512f", "avx512_vnni", "amx_bf16", "amx_int8"))
VALUES = (np.random.default_rng(0).standard_normal(5000) * np.exp(np.linspace(-18, 15, 5000))).astype(np.float32)


def as_bf16(array: np.ndarray) -> np.ndarray:
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def as_f16(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize(("narrow", "rounded"), [("bf16", as_bf16), ("f16", as_f16)])
def test_a_result_is_rounded_to_the_nearest_value_of_the_type(narrow, rounded):
    from openvino import opset13 as ops

    x = ops.parameter([VALUES.size], runtime().Type.f32, name="x")
    y = ops.multiply(x, x)
    y.output(0).get_tensor().set_names({"y"})
    compiled = compile_model(with_rounding(runtime().Model([y], [x], "m"), narrow), Options())
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(compiled([VALUES])["y"], rounded(VALUES * VALUES))


def opened(model, folder, *, off_target=True):
    built = build(model, folder, XEON if off_target else None)
    return closing(OpenVino().open(Payload(folder / "built", built.files, model.part, built.options, off_target)))


def test_bf16_for_another_machine_has_the_rounding_of_bf16(tmp_path):
    model, weights = conv_net(tmp_path / "model")
    with opened(replace(model, precision="bf16"), tmp_path) as session:
        outputs = session.run({"x": CONV_X})["y"]
        assert 5e-4 < difference(outputs, conv_expected(CONV_X, weights)) < 2e-2, "f32 would differ by 1e-7"
        assert "bf16" in session.precision.emulated
    assert np.array_equal(outputs, as_bf16(outputs))


def test_int8_for_another_machine_is_computed_in_float(tmp_path):
    model, _ = int8_net(tmp_path / "model", reduce_range=True)
    (tmp_path / "here").mkdir()
    with opened(model, tmp_path) as session, opened(model, tmp_path / "here", off_target=False) as here:
        outputs = session.run({"x": CONV_X})["y"]
        assert "i8" not in session.precision.layers and "Q/DQ" in session.precision.emulated
        assert "i8" in here.precision.layers and here.precision.emulated == ""
        assert difference(here.run({"x": CONV_X})["y"], outputs) < 0.03
        assert all(layer.precision != "i8" for layer in session.profile({"x": CONV_X}) if layer.kind == "Convolution")


def test_int8_beside_bf16_is_exact_and_only_the_floats_are_rounded(tmp_path):
    model, _ = int8_net(tmp_path / "model", reduce_range=True)
    (tmp_path / "mixed").mkdir()
    with opened(model, tmp_path) as plain, opened(replace(model, precision="i8+bf16"), tmp_path / "mixed") as mixed:
        exact, rounded = (session.run({"x": CONV_X})["y"] for session in (plain, mixed))
        assert 1e-4 < difference(rounded, exact) < 0.02
