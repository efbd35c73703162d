"""trtexec's command lines, its output files, and its faults, which are tested with a stub."""

from __future__ import annotations

import json
import stat
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from edgekit_tensorrt import engine_layers, trtexec
from edgekit_tensorrt.layers import precision
from edgekit_tensorrt.plan import BuildPlan, Profile

from edgekit.errors import ArtifactError, BuildError, EnvironmentFault
from tests.wording import raises

BINARY, GRAPH, ENGINE = Path("/usr/src/tensorrt/bin/trtexec"), Path("model.onnx"), Path("engine.plan")

COMMON = {
    "--onnx", "--saveEngine", "--loadEngine", "--skipInference", "--stronglyTyped", "--minShapes", "--optShapes",
    "--maxShapes", "--shapes", "--builderOptimizationLevel", "--timingCacheFile", "--memPoolSize", "--sparsity",
    "--useDLACore", "--allowGPUFallback", "--versionCompatible", "--hardwareCompatibilityLevel",
    "--profilingVerbosity", "--exportLayerInfo", "--exportProfile", "--exportTimes", "--exportOutput", "--loadInputs",
    "--separateProfileRun", "--warmUp", "--duration", "--iterations", "--avgRuns", "--percentile", "--useCudaGraph",
    "--useSpinWait", "--noDataTransfers", "--infStreams", "--device",
}  # fmt: skip
"""The options that 10.3, 10.16 and 11.1 all have."""


def plan(**more) -> BuildPlan:
    return BuildPlan(**{"target": "jetson", "precision": "i8+f16", "opset": 17, "sm": "8.7", **more})


def argv(**more) -> list[str]:
    return trtexec.build_argv(BINARY, GRAPH, plan(**more), ENGINE, Path("l.json"), Path("t.cache"), "--noTF32 ...")


def options(words: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words[1:])}


def test_the_build_is_strongly_typed_detailed_and_times_nothing():
    assert argv() == [
        str(BINARY), "--onnx=model.onnx", "--saveEngine=engine.plan", "--stronglyTyped", "--skipInference",
        "--profilingVerbosity=detailed", "--exportLayerInfo=l.json", "--timingCacheFile=t.cache", "--noTF32",
        "--sparsity=disable",
    ]  # fmt: skip


def test_the_build_has_every_setting_of_the_plan():
    profiles = (Profile("ids", (1, 8), (1, 128), (4, 512)), Profile("mask:0", (1, 8), (1, 128), (4, 512)))
    given = options(argv(profiles=profiles, sparse=True, dla_core=1, workspace_mb=512, optimization_level=4))
    assert given["--minShapes"] == "ids:1x8,'mask:0':1x8"
    assert given["--optShapes"] == "ids:1x128,'mask:0':1x128"
    assert given["--maxShapes"] == "ids:4x512,'mask:0':4x512"
    assert (given["--sparsity"], given["--useDLACore"], given["--memPoolSize"]) == ("enable", "1", "workspace:512")
    assert given["--builderOptimizationLevel"] == "4" and "--allowGPUFallback" in given
    assert "--allowGPUFallback" not in options(argv(dla_core=0, gpu_fallback=False))


def test_tf32_is_off_unless_it_is_requested():
    assert "--noTF32" not in options(argv(precision="tf32"))
    with raises(EnvironmentFault, "TF32", hint="python3-libnvinfer"):
        trtexec.build_argv(BINARY, GRAPH, plan(), ENGINE, Path("l"), Path("t"), "--onnx --saveEngine")


def every_command() -> dict[str, list[str]]:
    full = argv(
        profiles=(Profile("x", (1,), (1,), (2,)),), sparse=True, dla_core=0, workspace_mb=1, optimization_level=0
    )
    sizes = {"x": (1, 4)}
    return {
        "build": full,
        "times": trtexec.times_argv(BINARY, ENGINE, sizes, Path("t.json"), seconds=3),
        "profile": trtexec.profile_argv(BINARY, ENGINE, sizes, Path("p.json")),
        "outputs": trtexec.outputs_argv(BINARY, ENGINE, sizes, {"x": Path("x.bin")}, Path("o.json")),
    }


@pytest.mark.parametrize("task", ["build", "times", "profile", "outputs"])
def test_only_options_that_every_version_has_are_used(task):
    used = set(options(every_command()[task]))
    assert used <= COMMON | {"--noTF32"}, used - COMMON  # which is searched in the binary's help


def test_every_option_of_a_measurement_is_given():
    """The defaults of these changed in 11: without them a time would have another meaning there."""
    given = options(every_command()["times"])
    assert {"--useCudaGraph", "--useSpinWait", "--noDataTransfers", "--infStreams", "--warmUp", "--duration"} <= set(
        given
    )
    assert (given["--avgRuns"], given["--infStreams"], given["--shapes"]) == ("1", "1", "x:1x4")


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b17] # trtexec --help", "10.3.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101602] [b10] # /usr/src/tensorrt/bin/trtexec --help", "10.16.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110401] # trtexec", "11.4.1"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v11.1.0.106] [b48] # trtexec", "11.1.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8602] # trtexec", "8.6.2"),
        ("bash: trtexec: command not found", None),
    ],
)
def test_the_version_is_in_the_banner(banner, version):
    assert trtexec.version_of(banner) == version


# Output files


def test_times(tmp_path):
    starts = dict.fromkeys(("startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs"), 0)
    entry = {**starts, "h2dMs": 0.5, "computeMs": 2.25, "d2hMs": 0.25, "latencyMs": 3.0}
    (tmp_path / "t.json").write_text(json.dumps([entry, {**entry, "computeMs": 2.5}]))
    times = trtexec.read_times(tmp_path / "t.json")
    assert (times.compute_ms, times.latency_ms, times.h2d_ms, times.d2h_ms) == (
        (2.25, 2.5),
        (3, 3),
        (0.5, 0.5),
        (0.25, 0.25),
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '[{"latencyMs": 1}]', "[1"])
def test_files_that_are_not_times(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with raises(BuildError, "trtexec", "'t.json'"):
        trtexec.read_times(tmp_path / "t.json")


PROFILE = """[
  { "count" : 625 }
, { "name" : "Reformatting CopyNode for Input Tensor 0 to Conv_0", "timeMs" : 36.6,
    "averageMs" : 0.0586, "percentage" : 40 }
, { "name" : "Conv_0", "timeMs" : 41.4, "averageMs" : 0.0662, "medianMs" : 0.0660, "percentage" : 60 }
]"""

LAYERS = """{"Layers": [
{"Name": "Reformatting CopyNode for Input Tensor 0 to Conv_0", "LayerType": "Reformat",
 "Inputs": [{"Name": "x", "Dimensions": [1,3,8,8], "Format/Datatype": "Row major linear FP32"}],
 "Outputs": [{"Name": "r", "Format/Datatype": "Four wide channel vectorized row major Int8 format."}]},
{"Name": "Conv_0", "LayerType": "CaskConvolution",
 "Inputs": [{"Name": "r", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
 "Outputs": [{"Name": "y", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
 "Weights": {"Type": "Int8", "Count": 216}, "Bias": {"Type": "Float", "Count": 8}},
{"Name": "Gemm_1", "LayerType": "gemm",
 "Inputs": [{"Name": "y", "Format/Datatype": "Half"}], "Outputs": [{"Name": "z", "Format/Datatype": "Half"}],
 "Weights": {"Type": "Half", "Count": 64}}
], "Bindings": ["x", "z"]}"""


def test_profile_has_the_types_of_the_layers(tmp_path):
    (tmp_path / "p.json").write_text(PROFILE)
    copy, conv = trtexec.read_profile(tmp_path / "p.json", engine_layers.read(LAYERS))
    assert (copy.kind, copy.time_ms) == ("Reformat", 0.0586)
    assert (conv.name, conv.kind, conv.precision, conv.time_ms) == ("Conv_0", "CaskConvolution", "i8", 0.0660)


def test_layers_have_the_types_that_they_compute_in():
    assert dict(precision(engine_layers.read(LAYERS)).layers) == {"f16": 1, "f32": 1, "i8": 1}
    assert precision(engine_layers.read('{"Layers": ["Conv_0", "Gemm_1"]}')) is None, "names have no types"
    assert engine_layers.read("no json") == ()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Row major linear FP16 format", "f16"), ("Row major linear FP32", "f32"), ("Float", "f32"), ("Half", "f16"),
        ("BFloat16", "bf16"), ("Thirty-two wide channel vectorized row major Int8 format.", "i8"), ("Int4", "i4"),
        ("FP8", "f8"), ("Row major Int8 format", "i8"), ("N/A due to dynamic shapes", ""), ("", ""),
    ],
)  # fmt: skip
def test_types_in_the_spelling_of_every_version(text, kind):
    assert engine_layers.dtype_in(text) == kind


def test_outputs_with_numbers_that_json_does_not_have(tmp_path):
    values = "1.5, -inf, nan, -2"
    text = f'[\n{{ "name" : "y"\n  , "dimensions" : "2x2"\n  , "values" : [ {values} ]\n}}\n, '
    text += '{ "name" : "k", "dimensions" : "1", "values" : [ 7 ] }]'
    (tmp_path / "o.json").write_text(text)
    outputs = trtexec.read_outputs(tmp_path / "o.json", {"y": "float32", "k": "int64"})
    assert np.array_equal(outputs["y"], np.array([[1.5, -np.inf], [np.nan, -2]], np.float32), equal_nan=True)
    assert outputs["k"].dtype == np.int64 and outputs["k"].tolist() == [7]
    with raises(ArtifactError, "trtexec", "'o.json'"):
        trtexec.read_outputs(tmp_path / "o.json", {"gone": "float32"})


# Faults, with a stub


def stub(folder: Path, body: str, name: str = "trtexec") -> Path:
    """Write a program that parses its options as trtexec does and then runs `body`."""
    path = folder / name
    head = f"""\
        #!{sys.executable}
        import os, sys, time
        options = dict(word.partition("=")[::2] for word in sys.argv[1:])
        print("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b17] # stub")
        print("--noTF32 Disable tf32")
        if "--help" in options:
            sys.exit(0)
        sys.stdout.flush()
        """
    path.write_text(textwrap.dedent(head) + textwrap.dedent(body))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def attempt(binary: Path, folder: Path, timeout_s: float = 30) -> str:
    engine = folder / "engine.plan"
    words = trtexec.build_argv(binary, GRAPH, plan(), engine, folder / "l.json", folder / "t.cache", "--noTF32")
    return trtexec.run(words, folder / "log", timeout_s=timeout_s, activity="building the engine", partial=(engine,))


def test_a_build_that_works_leaves_its_file_and_its_log(tmp_path):
    output = attempt(stub(tmp_path, "open(options['--saveEngine'], 'w').write('engine')"), tmp_path)
    assert trtexec.version_of(output) == "10.3.0"
    assert (tmp_path / "engine.plan").read_text() == "engine"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "open(options['--saveEngine'], 'w').write('half'); print('[E] no kernel'); sys.exit(1)",
            ("code 1", "\n  [E] no kernel"),
        ),
        ("open(options['--saveEngine'], 'w').write('half'); os.abort()", "signal 6"),
        ("open(options['--saveEngine'], 'w').write('half'); sys.stdout.flush(); time.sleep(60)", "2 s"),
        ("print('&&&& PASSED')", "engine.plan"),
        ("open(options['--saveEngine'], 'w')", "engine.plan"),
    ],
)
def test_a_build_that_fails_gives_the_reason_and_leaves_no_partial_engine(tmp_path, body, message):
    (tmp_path / "engine.plan").write_text("of an earlier run")
    with raises(BuildError, message) as failure:
        attempt(stub(tmp_path, body), tmp_path, timeout_s=2 if "sleep" in body else 30)
    assert not (tmp_path / "engine.plan").exists()
    assert failure.value.context["log"] == str(tmp_path / "log")


@pytest.mark.parametrize(
    ("line", "hint"),
    [("[E] out of memory", "workspace_mb"), ("[E] Failed to parse onnx file", "parser rejects"), ("[E] else", "log")],
)
def test_a_failure_has_a_hint_of_its_own(tmp_path, line, hint):
    with pytest.raises(BuildError) as failure:
        attempt(stub(tmp_path, f"print('{line}'); sys.exit(1)"), tmp_path)
    assert hint in failure.value.hint


def test_a_missing_trtexec_is_an_error_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec, "PATHS", ())
    with raises(EnvironmentFault, "trtexec", "PATH", hint="libnvinfer-bin"):
        trtexec.find()
    assert trtexec.find(str(stub(tmp_path, "pass"))) == trtexec.find()


def test_a_program_that_is_not_trtexec_is_refused(tmp_path):
    other = stub(tmp_path, "pass", "other")
    other.write_text("#!/bin/sh\necho hello\n")
    with raises(EnvironmentFault, "other'", "version", hint="libnvinfer-bin"):
        trtexec.read_help(other, tmp_path / "help.log")
    with raises(EnvironmentFault, "gone'", "Errno 2", hint="libnvinfer-bin"):
        trtexec.read_help(tmp_path / "gone", tmp_path / "help.log")
