"""Bundles for Jetson boards from a machine that is none: prepared, gated here, and never claimed to be more."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest

from edgekit.bundle.bundle import Manifest
from tests.wording import mentions

from .conftest import Exported

SOME = ("--backend", "tensorrt", "--max-samples", "60", "--no-repair")


@pytest.fixture(
    scope="module",
    params=["jetson", *(pytest.param(f"jetson-{board}", marks=pytest.mark.nightly) for board in ("orin-nano", "thor"))],
)
def exported(request, command, place) -> Exported:
    if platform.machine() == "aarch64":
        pytest.skip("this machine could be the board")
    path = place / "out" / request.param
    return Exported(path, command("export", "digits", "--target", request.param, "-o", path, "--json", *SOME))


def test_digits_get_a_portable_bundle_whose_gate_ran_here(exported):
    thor = exported.path.name == "jetson-thor"
    report, manifest = exported.report, Manifest.from_dict(json.loads((exported.path / "manifest.json").read_text()))
    assert report.ok and report.evidence == "parsed"
    assert report.shipped.name == ("tensorrt/fp16" if thor else "tensorrt/int8-fp16")
    names = {f"tensorrt/{name}" for name in ("int8-fp16", "fp16", "fp32")} | ({"tensorrt/fp8"} if thor else set())
    assert {c.name for c in report.candidates} == names
    for candidate in report.candidates:
        assert candidate.quality.labelled == 60 and candidate.quality.rel_l2 < 0.1
        assert candidate.effective is None and candidate.measurement is None
    assert (
        manifest.portable
        and manifest.evidence == "parsed"
        and [requires["arch"] for requires in manifest.requires] == ["aarch64"]
    )
    assert {"model/model.onnx", "model/plan.json"} <= set(manifest.parts[0].payload)
    plan = json.loads((exported.path / "model" / "plan.json").read_text())
    assert plan["sm"] == ("11.0" if thor else "8.7") and plan["precision"] == manifest.asked
    assert any(samples.suffix == ".npz" for samples in (exported.path / "samples").iterdir())


@pytest.mark.parametrize("verb", ["verify", "bench"])
def test_it_is_not_run_before_it_is_finished(exported, command, verb):
    refused = command(verb, exported.path, code=8)
    assert "hint: " in refused.stderr and refused.stdout == ""


def test_what_comes_next_is_the_board(command, place):
    out = place / "out" / "next"
    output = command("export", "digits", "--target", "jetson", "--candidate", "tensorrt/fp16", "-o", out, *SOME).stdout
    assert f"next:   edgekit deploy {out} --device ssh://" in output


def test_an_onnx_file_with_free_sizes(command, place, tmp_path):
    """A range in the target makes the engine's profile; a size without one is refused, with what to do."""
    from onnx import TensorProto, helper, numpy_helper, save

    weight = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("Relu", ["h"], ["y"], "relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    save(proto, str(tmp_path / "net.onnx"))
    base = ("export", tmp_path / "net.onnx", "--candidate", "tensorrt/fp32", "-o", tmp_path / "out")
    refused = command(*base, "--target", "jetson", code=4)
    assert mentions(refused.stderr, ("'length'", "'x'", "'jetson'"))
    (tmp_path / "mine.toml").write_text(
        'extends = "jetson"\nsummary = "mine"\n[shapes]\nlength = { min = 1, opt = 4, max = 32 }\n'
    )
    command(*base, "--target", tmp_path / "mine.toml")
    plan = json.loads((tmp_path / "out" / "model" / "plan.json").read_text())
    assert plan["profiles"] == [{"input": "x", "min": [1, 1, 16], "opt": [1, 4, 16], "max": [1, 32, 16]}]
