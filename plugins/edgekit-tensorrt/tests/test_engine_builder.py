"""Building engines with the real builder that needs no GPU: TensorRT for RTX."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from edgekit_tensorrt import build_process, engine_builder, runtime
from edgekit_tensorrt.plan import BuildPlan, Profile

from edgekit.errors import BuildError, EnvironmentFault, UnsupportedError
from tests.wording import raises

onnx = pytest.importorskip("onnx")

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip("no tensorrt-rtx: pip install 'edgekit-tensorrt[rtx]'", allow_module_level=True)


def write(path: Path, rows: str | int = "N", kind: str = "MatMul", domain: str = "") -> Path:
    """Write y = x @ w, x [rows, 4]."""
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, ["x", "w"], ["y"], name="product", domain=domain)],
        "linear",
        [make("x", onnx.TensorProto.FLOAT, [rows, 4])],
        [make("y", onnx.TensorProto.FLOAT, [rows, 3])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opsets = [onnx.helper.make_opsetid("", 17), *([onnx.helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def plan(**more) -> BuildPlan:
    profiles = (Profile("x", (1, 4), (2, 4), (8, 4)),)
    return BuildPlan(**{"target": "card", "precision": "f32", "opset": 17, "sm": "8.6", "profiles": profiles, **more})


@pytest.fixture(scope="module")
def trt():
    return runtime.module("rtx")


def test_a_graph_with_free_sizes_becomes_an_engine(trt, tmp_path):
    options = {"workspace_mb": 64, "optimization_level": 2, "sparse": True}
    built = engine_builder.build(trt, write(tmp_path / "m.onnx"), plan(**options), compute_capability="8.6")
    assert len(built.engine) > 1000 and built.seconds > 0
    assert built.timing_cache is None, "compiled ahead of time, nothing is timed"


def test_fixed_sizes_need_no_profile(trt, tmp_path):
    built = engine_builder.build(trt, write(tmp_path / "m.onnx", 2), plan(profiles=()), compute_capability="8.9")
    assert built.engine


def test_the_configuration_is_the_plans(trt, tmp_path):
    log = engine_builder.logger(trt, [])
    builder, network, _parser, accepted = engine_builder.parse_network(trt, log, write(tmp_path / "m.onnx"))
    assert accepted
    build_plan = plan(workspace_mb=64, optimization_level=4, sparse=True)
    config = engine_builder.builder_config(trt, builder, network, build_plan, "8.6")
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 64 << 20
    assert config.builder_optimization_level == 4
    assert config.get_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert config.num_optimization_profiles == 1
    assert not config.get_flag(trt.BuilderFlag.TF32), "products of floats keep all their bits"
    allowed = engine_builder.builder_config(trt, builder, network, plan(precision="tf32"), "8.6")
    assert allowed.get_flag(trt.BuilderFlag.TF32)
    assert not allowed.get_flag(trt.BuilderFlag.SPARSE_WEIGHTS)


def test_dla_with_its_fallback_is_set(trt, tmp_path):
    builder = trt.Builder(engine_builder.logger(trt, []))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    config = engine_builder.builder_config(trt, builder, network, plan(dla_core=0, profiles=()), "8.6")
    assert config.default_device_type == trt.DeviceType.DLA
    assert config.get_flag(trt.BuilderFlag.GPU_FALLBACK)
    alone = engine_builder.builder_config(
        trt, builder, network, plan(dla_core=0, gpu_fallback=False, profiles=()), "8.6"
    )
    assert not alone.get_flag(trt.BuilderFlag.GPU_FALLBACK)


def test_the_parsers_refusal_names_the_node(trt, tmp_path):
    path = write(tmp_path / "m.onnx", 2, kind="NoSuchOperator", domain="elsewhere")
    with pytest.raises(UnsupportedError) as refusal:
        engine_builder.build(trt, path, plan(profiles=()), compute_capability="8.6")
    assert "'product' (NoSuchOperator)" in refusal.value.problems[0]


def test_a_plan_without_sizes_for_a_free_input_is_refused(trt, tmp_path):
    with raises(BuildError, "x", hint="--shape"):
        engine_builder.build(trt, write(tmp_path / "m.onnx"), plan(profiles=()), compute_capability="8.6")


def test_sizes_that_contradict_the_graph_are_refused(trt, tmp_path):
    wrong = (Profile("x", (1, 5), (2, 5), (8, 5)),)
    with pytest.raises(BuildError):
        engine_builder.build(trt, write(tmp_path / "m.onnx"), plan(profiles=wrong), compute_capability="8.6")


def test_a_gpu_that_it_does_not_build_for_is_refused(trt, tmp_path):
    with raises(UnsupportedError, "SM 8.7", hint="edgekit finish"):
        engine_builder.build(trt, write(tmp_path / "m.onnx"), plan(), compute_capability="8.7")


def job(folder: Path, **more) -> dict:
    return {
        "runtime": "rtx", "graph": str(folder / "m.onnx"), "plan": plan().to_dict(),
        "engine": str(folder / "engine.plan"),
        "timing_cache": str(folder / "timing.cache"), "compute_capability": "8.6", **more,
    }  # fmt: skip


def test_the_child_writes_the_complete_engine(tmp_path):
    write(tmp_path / "m.onnx")
    result = build_process.build(job(tmp_path), tmp_path)
    assert result["seconds"] > 0
    assert (tmp_path / "engine.plan").stat().st_size > 1000
    assert not list(tmp_path.glob("*.new"))


def test_an_error_in_the_child_is_raised_here(tmp_path):
    write(tmp_path / "m.onnx", 2, kind="NoSuchOperator", domain="elsewhere")
    with raises(UnsupportedError, "'product'", "NoSuchOperator") as refusal:
        build_process.build(job(tmp_path), tmp_path)
    assert "NoSuchOperator" in refusal.value.problems[0]
    assert not (tmp_path / "engine.plan").exists()


def test_a_child_that_takes_too_long_is_stopped(tmp_path):
    write(tmp_path / "m.onnx")
    with raises(BuildError, "0.01 s", hint="edgekit doctor"):
        build_process.build(job(tmp_path), tmp_path, timeout_s=0.01)
    assert not (tmp_path / "engine.plan").exists()


def test_a_child_that_crashes_is_a_message(tmp_path, monkeypatch):
    site = tmp_path / "site" / "tensorrt_rtx"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text(
        "import os, sys\nprint('[E] about to crash', file=sys.stderr, flush=True)\nos.abort()\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    write(tmp_path / "m.onnx")
    with raises(BuildError, "SIGABRT", hint="edgekit doctor") as crash:
        build_process.build(job(tmp_path), tmp_path)
    assert "about to crash" in crash.value.message


def test_without_a_driver_tensorrt_is_not_called(tmp_path):
    from edgekit_tensorrt import cuda

    try:
        cuda.driver()
    except EnvironmentFault:
        write(tmp_path / "m.onnx")
        with raises(EnvironmentFault, re.compile(r"no NVIDIA driver|cuInit")):
            build_process.build(job(tmp_path, compute_capability=None), tmp_path)
    else:
        pytest.skip("this machine has a driver")
