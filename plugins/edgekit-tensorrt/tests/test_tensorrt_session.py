"""The session on stubs of the driver and TensorRT: order of copies, buffers, graphs, what is freed.

Nothing here is TensorRT or a GPU; they are tested on a board only.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgekit_tensorrt import cuda, engine_info
from edgekit_tensorrt.plan import PLAN, BuildPlan
from edgekit_tensorrt.session import AHEAD, TensorRtSession

from edgekit.errors import ArtifactError, DeviceError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.model import Part
from edgekit.plugin import Payload, digest_of_file
from edgekit.spec import TensorSpec
from edgekit.testing._states import KeptStates
from edgekit.testing._threads import THREADS, in_threads
from tests.wording import raises

spec = importlib.util.spec_from_file_location("gpu_stub", Path(__file__).with_name("gpu_stub.py"))
gpu = importlib.util.module_from_spec(spec)
sys.modules["gpu_stub"] = gpu
spec.loader.exec_module(gpu)

WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
PART = Part("model", "model.onnx", (TensorSpec.parse("x:f32[N,4]"),), (TensorSpec.parse("y:f32[N,3]"),))


def payload(folder: Path, driver, engine: bytes = b"engine of a stub", **board) -> Payload:
    file = folder / "engine.plan"
    file.write_bytes(engine)
    here = cuda.Cuda(driver)
    facts = {
        "sm": here.sm,
        "gpu": here.name,
        "driver": here.driver,
        "tensorrt": "10.3.0",
        "runtime": "tensorrt",
        **board,
    }
    info = engine_info.EngineInfo(digest_of_file(file), engine_info.Board(**facts), "tensorrt 10.3.0", 1.0)
    info.save(folder / "engine.json")
    return Payload(folder, ("engine.plan", "engine.json"), PART)


def opened(folder: Path, driver, **more) -> TensorRtSession:
    module = gpu.tensorrt(driver, WEIGHTS, **more)
    return TensorRtSession(payload(folder, driver), trt=module, driver=cuda.Cuda(driver))


class TestKeptStates(KeptStates):
    """The contract of `step`, on the stubs."""

    @pytest.fixture
    def stepping(self, tmp_path):
        driver = gpu.Driver()
        part = replace(PART, reads={"x": "before.x"}, writes={"y": "after.y"})
        finished = replace(payload(tmp_path, driver), part=part)
        session = TensorRtSession(finished, trt=gpu.tensorrt(driver, WEIGHTS), driver=cuda.Cuda(driver))
        with closing(session):
            yield session, session
        assert driver.streams == driver.contexts == 0 and not driver.memory

    def expected(self, feeds):
        return {"y": feeds["x"] @ WEIGHTS}


def test_states_are_not_copied_between_calls(tmp_path):
    driver = gpu.Driver()
    part = replace(PART, reads={"x": "x"}, writes={"y": "y"})
    finished = replace(payload(tmp_path, driver), part=part)
    with closing(TensorRtSession(finished, trt=gpu.tensorrt(driver, WEIGHTS), driver=cuda.Cuda(driver))) as session:
        states = dict(feeds(2))
        session.step({}, states)
        assert driver.calls.count("cuMemcpyHtoDAsync_v2") == 1, "the array that the state started as"
        driver.calls.clear()
        for _ in range(5):
            session.step({}, states)
        states["x"] = states["x"].take([1, 1])
        assert not [name for name in driver.calls if "HtoD" in name or "DtoH" in name]
        assert driver.calls.count("cuMemAlloc_v2") <= 2, "buffers are used again"
        with raises(UsageError, "axis 1"):
            states["x"].take([0], axis=1)


def feeds(rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((rows, 4)).astype(np.float32)}


def test_outputs_are_right_at_every_size_and_belong_to_the_caller(tmp_path):
    with closing(opened(tmp_path, gpu.Driver())) as session:
        first = session.run(feeds(2))
        for rows in (1, 8, 2):
            inputs = feeds(rows, rows)
            np.testing.assert_allclose(session.run(inputs)["y"], inputs["x"] @ WEIGHTS, rtol=1e-6)
        np.testing.assert_allclose(first["y"], feeds(2)["x"] @ WEIGHTS, rtol=1e-6)
        first["y"][...] = 0


def test_threads_take_turns_each_with_the_context_current(tmp_path):
    driver = gpu.Driver()
    with closing(opened(tmp_path, driver)) as session:
        shared = session.bind(feeds(2))
        before = driver.calls.count("cuCtxSetCurrent")

        def work(seed):
            shared()
            for rows in (1, 8, 2) * 10:
                inputs = feeds(rows, seed)
                np.testing.assert_allclose(session.run(inputs)["y"], inputs["x"] @ WEIGHTS, rtol=1e-6)
                shared()

        in_threads(work)
        assert driver.calls.count("cuCtxSetCurrent") >= before + THREADS
    assert driver.streams == driver.contexts == 0 and not driver.memory


def test_feeds_in_any_layout_are_copied(tmp_path):
    with closing(opened(tmp_path, gpu.Driver())) as session:
        inputs = {"x": np.asfortranarray(feeds(8)["x"])[::2]}
        np.testing.assert_allclose(session.run(inputs)["y"], inputs["x"] @ WEIGHTS, rtol=1e-6)


def test_a_bound_call_copies_runs_copies_and_waits(tmp_path):
    driver = gpu.Driver(fails={"cuStreamBeginCapture_v2": 1})
    with closing(opened(tmp_path, driver)) as session:
        call = session.bind(feeds(2))
        assert session.cuda_graph is False
        driver.calls.clear()
        assert call() is None
        assert driver.calls == ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]


def test_what_can_be_captured_is_one_launch_and_computes_the_same(tmp_path):
    driver = gpu.Driver()
    with closing(opened(tmp_path, driver)) as session:
        call = session.bind(feeds(2))
        assert session.cuda_graph is True
        outputs = session._bound[0].outputs["y"]
        outputs[...] = 0
        driver.calls.clear()
        call()
        assert driver.calls == ["cuGraphLaunch", "cuStreamSynchronize"]
        np.testing.assert_allclose(outputs, feeds(2)["x"] @ WEIGHTS, rtol=1e-6)


def test_a_graph_with_other_outputs_is_not_used(tmp_path, monkeypatch):
    driver = gpu.Driver()
    monkeypatch.setattr(gpu.Driver, "cuGraphLaunch", lambda self, graph, stream: session_outputs(session)[...].fill(7))
    session = opened(tmp_path, driver)

    def session_outputs(opened_session):
        return opened_session._bound[-1].outputs["y"]

    with closing(session):
        session.bind(feeds(2))()
        assert session.cuda_graph is False
        np.testing.assert_allclose(session_outputs(session), feeds(2)["x"] @ WEIGHTS, rtol=1e-6)


def test_runs_and_bound_calls_do_not_disturb_each_other(tmp_path):
    with closing(opened(tmp_path, gpu.Driver())) as session:
        first, second = session.bind(feeds(2, 1)), session.bind(feeds(4, 2))
        for _ in range(3):
            first(), second()
            np.testing.assert_allclose(session.run(feeds(3))["y"], feeds(3)["x"] @ WEIGHTS, rtol=1e-6)


def test_closing_frees_everything_once(tmp_path):
    driver = gpu.Driver()
    session = opened(tmp_path, driver)
    call = session.bind(feeds(2))
    session.run(feeds(3))
    session.profile(feeds(4))
    session.close()
    session.close()
    assert (driver.memory, driver.graphs, driver.streams, driver.contexts) == ({}, {}, 0, 0)
    for use in (call, lambda: session.run(feeds(2)), lambda: session.bind(feeds(2)), lambda: session.precision):
        with raises(UsageError, "closed"):
            use()


def test_layers_have_types_and_times(tmp_path):
    with closing(opened(tmp_path, gpu.Driver())) as session:
        assert (session.precision.main, dict(session.precision.layers)) == ("f16", {"f16": 1})
        (layer,) = session.profile(feeds(2))
        assert (layer.name, layer.kind, layer.precision, layer.time_ms) == ("product", "gemm", "f16", 0.25)


def test_sizes_beyond_the_profile_are_refused_and_nothing_leaks(tmp_path):
    driver = gpu.Driver()
    with closing(opened(tmp_path, driver)) as session:
        with raises(UsageError, "'x'", "[9, 4]"):
            session.run(feeds(9))
        assert driver.memory == {}
        session.run(feeds(8))


def test_an_output_of_unknown_size_is_refused(tmp_path):
    with (
        closing(opened(tmp_path, gpu.Driver(), unsized=True)) as session,
        raises(UnsupportedError, "'y'", hint="non-maximum suppression"),
    ):
        session.run(feeds(2))


def test_memory_that_runs_out_is_a_device_error_and_leaves_nothing(tmp_path):
    driver = gpu.Driver(fails={"cuMemAlloc_v2": 2})
    with closing(opened(tmp_path, driver)) as session:
        with raises(DeviceError, "CUDA_ERROR_OUT_OF_MEMORY", hint=("model", "batch", "workspace")):
            session.run(feeds(2))
        assert driver.memory == {}


def test_an_engine_that_does_not_load_is_an_error_with_tensorrts_reason(tmp_path):
    driver = gpu.Driver()
    broken = payload(tmp_path, driver, b"something else")
    with raises(ArtifactError, "'engine.plan'", "magic tag does not match", hint="edgekit finish"):
        TensorRtSession(broken, trt=gpu.tensorrt(driver, WEIGHTS), driver=cuda.Cuda(driver))
    assert driver.contexts == 0


def test_tensors_of_another_name_or_type_than_the_manifests_are_refused(tmp_path):
    driver = gpu.Driver()
    finished = payload(tmp_path, driver)
    for output, facts in (
        ("y:f16[N,3]", ("y (float32)", "y (float16)")),
        ("z:f32[N,3]", ("y (float32)", "z (float32)")),
    ):
        other = replace(finished, part=replace(PART, outputs=(TensorSpec.parse(output),)))
        with raises(ArtifactError, facts):
            TensorRtSession(other, trt=gpu.tensorrt(driver, WEIGHTS), driver=cuda.Cuda(driver))
    assert driver.contexts == 0


def test_an_engine_of_another_board_is_refused_with_every_difference(tmp_path):
    driver = gpu.Driver()
    other = payload(tmp_path, driver, sm="8.6", tensorrt="10.16.2", power_mode="15W")
    differences = (
        ("compute capability", "8.6", "8.7"),
        ("TensorRT", "10.16.2", "10.3.0"),
        ("power mode", "15W", "unknown"),
    )
    with raises(ArtifactError, *differences, hint="edgekit finish"):
        TensorRtSession(other, trt=gpu.tensorrt(driver, WEIGHTS), driver=cuda.Cuda(driver))


@pytest.mark.parametrize("fails", ["cuInit", "cuDeviceGet"])
def test_a_missing_gpu_is_an_environment_fault(fails):
    with raises(EnvironmentFault, fails, "CUDA_ERROR_NO_DEVICE", hint="--runtime nvidia"):
        cuda.Cuda(gpu.Driver(fails={fails: gpu.NO_DEVICE}))


def test_a_driver_that_lacks_a_function_is_too_old():
    class Old(gpu.Driver):
        @property
        def cuStreamCreate(self):
            raise AttributeError("cuStreamCreate")

    with raises(EnvironmentFault, "cuStreamCreate", hint="CUDA 11.4"):
        cuda.Cuda(Old()).stream()


def test_the_device_reports_its_name_and_versions():
    device = cuda.Cuda(gpu.Driver((11, 0)))
    assert (device.sm, device.name, device.driver, device.integrated) == ("11.0", "Orin", "12.6", True)


@pytest.mark.parametrize(("sm", "opens"), [("8.7", True), ("8.6", False)])
def test_an_engine_compiled_ahead_opens_on_its_compute_capability_alone(tmp_path, sm, opens):
    """TensorRT for RTX compiles without the device and writes no `engine.json`: the build plan has the GPU's SM."""
    driver = gpu.Driver()
    (tmp_path / AHEAD).write_bytes(b"engine of a stub")
    BuildPlan(target="card", precision="f32", opset=17, sm=sm, options={"runtime": "rtx"}).save(tmp_path / PLAN)
    ahead = Payload(tmp_path, (AHEAD, PLAN), PART)
    if opens:
        card = TensorRtSession(ahead, "rtx", trt=gpu.tensorrt(driver, WEIGHTS), driver=cuda.Cuda(driver))
        with closing(card) as session:
            np.testing.assert_allclose(session.run(feeds(2))["y"], feeds(2)["x"] @ WEIGHTS, rtol=1e-6)
        return
    with raises(ArtifactError, ("SM 8.6", "Orin", "SM 8.7")):
        TensorRtSession(ahead, "rtx", trt=gpu.tensorrt(driver, WEIGHTS), driver=cuda.Cuda(driver))
