"""Finishing on a board with stubs of trtexec and the driver: the plugin's own work only, no engine is real."""

from __future__ import annotations

import importlib.util
import stat
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from edgekit_tensorrt import TensorRT, cuda, engine_info, runtime, trtexec
from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan
from edgekit_tensorrt.session import open_engine
from edgekit_tensorrt.trtexec_session import TrtexecSession

from edgekit.errors import ArtifactError, BuildError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.model import Part
from edgekit.plugin import Payload
from edgekit.spec import TensorSpec
from edgekit.target.target import Target
from tests.wording import mentions, raises

spec = importlib.util.spec_from_file_location("gpu_stub", Path(__file__).with_name("gpu_stub.py"))
gpu = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu)

PART = Part("model", "model.onnx", (TensorSpec.parse("x:f32[2,4]"),), (TensorSpec.parse("y:f32[2,3]"),))
LAYERS = {"Layers": [{"Name": "product", "LayerType": "gemm", "Inputs": [{"Format/Datatype": "Half"}],
                      "Outputs": [{"Format/Datatype": "Half"}]}]}  # fmt: skip

STUB = f"""#!{sys.executable}
import json, sys
import numpy as np
options = dict(word.partition("=")[::2] for word in sys.argv[1:])
print("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b17] # stub")
print("--noTF32 Disable tf32")
if "--saveEngine" in options:
    open(options["--saveEngine"], "w").write("engine")
    open(options["--timingCacheFile"], "w").write("cache")
    json.dump({LAYERS!r}, open(options["--exportLayerInfo"], "w"))
if "--exportTimes" in options:
    entry = dict(latencyMs=2.0, computeMs=1.5, h2dMs=0.25, d2hMs=0.25)
    json.dump([entry] * 11, open(options["--exportTimes"], "w"))
if "--exportOutput" in options:
    name, _, file = options["--loadInputs"].partition(":")
    y = np.fromfile(file, np.float32).reshape(2, 4) @ np.arange(12, dtype=np.float32).reshape(4, 3)
    values = ", ".join("%g" % v for v in y.ravel())
    text = '[{{ "name" : "y", "dimensions" : "2x3", "values" : [ ' + values + " ] }}]"
    open(options["--exportOutput"], "w").write(text)
if "--exportProfile" in options:
    layer = {{"name": "product", "averageMs": 0.5, "medianMs": 0.4}}
    json.dump([{{"count": 10}}, layer], open(options["--exportProfile"], "w"))
"""


@pytest.fixture
def driver(monkeypatch):
    driver = gpu.Driver()
    monkeypatch.setattr(cuda, "driver", lambda: cuda.Cuda(driver))
    return driver


@pytest.fixture
def binary(tmp_path, monkeypatch) -> Path:
    """Stub a board that has trtexec and no Python module."""
    path = tmp_path / "bin" / "trtexec"
    path.parent.mkdir()
    path.write_text(STUB)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(trtexec, "PATHS", (str(path),))
    monkeypatch.setattr(runtime, "module", absent)
    return path


def absent(kind: str = "tensorrt", root: Path = Path("/")):
    raise EnvironmentFault("the Python module 'tensorrt' is not installed.", hint=runtime.MISSING[kind])


def prepared(folder: Path, **more) -> Payload:
    folder.mkdir(exist_ok=True)
    (folder / GRAPH).write_bytes(b"graph")
    facts = {"target": "jetson", "precision": "f16", "opset": 17, "sm": "8.7", **more}
    BuildPlan(**facts).save(folder / PLAN)
    return Payload(folder, (GRAPH, PLAN), PART)


def finished(tmp_path: Path, **more):
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    built = TensorRT().finish(prepared(tmp_path / "prepared", **more), Target("jetson", "a board"), work)
    return built, Payload(work, built.files, PART, built.options)


def test_what_trtexec_builds_is_complete_and_records_its_board(tmp_path, driver, binary):
    built, payload = finished(tmp_path)
    assert built.files[:3] == ("engine.plan", "engine.json", "layers.json")
    assert built.files[3] == "timing-10.3.0-sm8.7-12.6.cache"
    assert (built.evidence, built.portable, built.part) == ("built_on_device", False, None)
    info = engine_info.load(payload.main)
    assert (info.builder, info.board.tensorrt, info.board.sm, info.board.gpu) == (
        "trtexec",
        "10.3.0",
        "8.7",
        "Orin",
    )
    notes = "\n".join(built.notes)
    assert mentions(notes, "TensorRT 10.3.0", ("Orin", "SM 8.7"))
    assert mentions(notes, ("layers", "1 in fp16"))
    assert mentions(notes, ("p50 1.500 ms", "11 inferences", "copies"))
    assert "python3-libnvinfer" in notes


def test_it_runs_by_trtexec_where_there_is_no_module(tmp_path, driver, binary):
    _, payload = finished(tmp_path)
    feeds = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
    with closing(open_engine(payload)) as session:
        assert isinstance(session, TrtexecSession)
        y = session.run(feeds)["y"]
        np.testing.assert_allclose(y, feeds["x"] @ np.arange(12, dtype=np.float32).reshape(4, 3))
        assert y.dtype == np.float32
        assert session.precision.main == "f16"
        (layer,) = session.profile(feeds)
        assert (layer.name, layer.precision, layer.time_ms) == ("product", "f16", 0.4)
        with raises(UnsupportedError, "trtexec", hint="python3-libnvinfer") as refusal:
            session.bind(feeds)
        assert "python3-libnvinfer" in refusal.value.hint
        with raises(UsageError, "'x'", "float64", "float32"):
            session.run({"x": feeds["x"].astype(np.float64)})
    with raises(UsageError, "closed"):
        session.run(feeds)


def test_another_gpu_than_the_plans_is_refused(tmp_path, driver, binary):
    with raises(ArtifactError, ("SM 11.0", "Orin", "SM 8.7"), hint="'jetson'"):
        finished(tmp_path, sm="11.0")


def test_precision_that_was_not_reached_is_noted(tmp_path, driver, binary):
    built, _ = finished(tmp_path, precision="i8+f16")
    assert any(mentions(note, ("int8", "fp16")) for note in built.notes)


def test_a_board_without_tensorrt_says_what_to_install(tmp_path, driver, monkeypatch):
    monkeypatch.setattr(trtexec, "PATHS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(runtime, "module", absent)
    with raises(EnvironmentFault, "'tensorrt'", "trtexec", "PATH", hint="python3-libnvinfer") as fault:
        finished(tmp_path)
    assert "apt-get install" in fault.value.hint


def test_without_a_driver_nothing_is_built(tmp_path, binary, monkeypatch):
    monkeypatch.setattr(cuda, "driver", lambda: cuda.Cuda(gpu.Driver(fails={"cuInit": gpu.NO_DEVICE})))
    with raises(EnvironmentFault, "CUDA_ERROR_NO_DEVICE"):
        finished(tmp_path)
    assert not (tmp_path / "work" / "engine.plan").exists()


def test_a_build_that_fails_leaves_no_engine(tmp_path, driver, binary):
    binary.write_text(
        STUB.replace('if "--saveEngine" in options:', 'if "--saveEngine" in options:\n    sys.exit("[E] no")')
    )
    with raises(BuildError, "trtexec", "code 1", "[E] no"):
        finished(tmp_path)
    assert not (tmp_path / "work" / "engine.plan").exists()


def test_a_timing_that_fails_does_not_cost_the_engine(tmp_path, driver, binary):
    binary.write_text(STUB.replace('if "--exportTimes" in options:', 'if "--exportTimes" in options:\n    sys.exit(1)'))
    built, _ = finished(tmp_path)
    assert any(mentions(note, "trtexec", "time") for note in built.notes)


def test_after_an_update_of_the_board_the_engine_is_refused(tmp_path, driver, binary):
    _, payload = finished(tmp_path)
    binary.write_text(STUB.replace("v100300", "v101602"))
    with raises(ArtifactError, ("TensorRT", "10.3.0", "10.16.2"), hint="edgekit finish") as refusal:
        open_engine(payload)
    assert "edgekit finish" in refusal.value.hint


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "engine.plan").write_text("another"), ["'engine.plan'", "SHA-256"]),
        (lambda folder: (folder / "engine.plan").unlink(), "'engine.plan'"),
        (lambda folder: (folder / "engine.json").unlink(), ("'engine.json'", "'engine.plan'")),
        (lambda folder: (folder / "engine.json").write_text("{"), ("'engine.json'", "line 1 column 2")),
        (lambda folder: (folder / "engine.json").write_text('{"sha256": 1}'), ("'engine.json'", "sha256", "1")),
    ],
)
def test_a_damaged_engine_is_not_opened(tmp_path, driver, binary, damage, message):
    _, payload = finished(tmp_path)
    damage(payload.folder)
    with raises(ArtifactError, message, hint="edgekit finish"):
        open_engine(payload)


def test_the_differences_of_a_board_are_named(tmp_path):
    hosts = Path(__file__).parents[3] / "tests" / "fixtures" / "hosts"
    board = engine_info.this_board("tensorrt", "10.3.0", "8.7", "Orin", "12.6", root=hosts / "jetson-orin-nano")
    assert (board.l4t, board.jetpack, board.power_mode) == ("36.4.3", "6.2", "MAXN_SUPER")
    other = engine_info.this_board("tensorrt", "10.3.0", "11.0", "Thor", "13.0", root=hosts / "jetson-agx-thor")
    facts = (
        ("compute capability", "8.7", "11.0"),
        ("GPU", "Orin", "Thor"),
        ("L4T", "36.4.3", "38.4.0"),
        ("JetPack", "6.2", "7.1"),
        ("power mode", "MAXN_SUPER", "unknown"),
    )
    for difference, fact in zip(board.differences(other), facts, strict=True):
        assert mentions(difference, fact)
    assert board.differences(engine_info.Board.from_dict({**board.to_dict(), "driver": "13.0"})) == ()


def test_the_systems_module_is_found_from_a_private_environment(tmp_path, monkeypatch):
    python = ".".join(map(str, sys.version_info[:2]))
    folder = tmp_path / f"usr/lib/python{python}/dist-packages/tensorrt"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("__version__ = '10.3.0'\n")
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("this environment has a tensorrt of its own")
    try:
        assert runtime.module("tensorrt", tmp_path).__version__ == "10.3.0"
    finally:
        sys.modules.pop("tensorrt", None)
    (folder / "__init__.py").write_text("import a_library_that_is_not_here\n")
    with raises(EnvironmentFault, f"Python {python}", "'a_library_that_is_not_here'"):
        runtime.module("tensorrt", tmp_path)
    assert "tensorrt" not in sys.modules
    with raises(EnvironmentFault, "'tensorrt'", hint="python3-libnvinfer") as fault:
        runtime.module("tensorrt", tmp_path / "elsewhere")
    assert "python3-libnvinfer" in fault.value.hint
