"""TensorRT bundles by the command line on a stubbed board: export, finish, verify, an update, finish again.

The driver is a few C functions that report an Orin; trtexec is a script that runs the graph on ONNX Runtime. No engine
and no time is real.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.wording import mentions

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int index) { *device = 0; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device)
{ *value = which == 75 ? 8 : which == 76 ? 7 : 1; return 0; }
int cuDeviceGetName(char *text, int size, int device) { strncpy(text, "Orin", size); return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuGetErrorName(int code, const char **text) { *text = "CUDA_ERROR_UNKNOWN"; return 0; }
"""

TRTEXEC = f"""#!{sys.executable}
import json, os, shutil, sys
options = dict(word.partition("=")[::2] for word in sys.argv[1:])
print("&&&& RUNNING TensorRT.trtexec [TensorRT " + os.environ.get("STUB_VERSION", "v100300") + "] # stub")
print("--noTF32 Disable tf32")
if "--saveEngine" in options:
    shutil.copyfile(options["--onnx"], options["--saveEngine"])
    layer = dict(Name="product", LayerType="gemm", Inputs=[{{"Format/Datatype": "Float"}}], Outputs=[])
    json.dump(dict(Layers=[layer]), open(options["--exportLayerInfo"], "w"))
if "--exportTimes" in options:
    sys.exit("[E] a script has no times")
if "--exportOutput" in options:
    import numpy as np, onnxruntime
    name, _, file = options["--loadInputs"].partition(":")
    session = onnxruntime.InferenceSession(options["--loadEngine"])
    (y,) = session.run(None, {{name: np.fromfile(file, np.float32).reshape(session.get_inputs()[0].shape)}})
    values = [float(format(v + float(os.environ.get("STUB_ERROR", 0)), "g")) for v in y.ravel()]
    output = dict(name=session.get_outputs()[0].name, dimensions="x".join(map(str, y.shape)), values=values)
    json.dump([output], open(options["--exportOutput"], "w"))
"""


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Return a function that runs the command line on a stubbed board."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("the driver cannot be built: no C compiler")
    site = tmp_path / "board"
    site.mkdir()
    (site / "driver.c").write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", site / "libcuda.so.1", site / "driver.c"], check=True)
    (site / "trtexec").write_text(TRTEXEC)
    (site / "trtexec").chmod(stat.S_IRWXU)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(site))
    monkeypatch.setenv("PATH", f"{site}{os.pathsep}{os.environ['PATH']}")

    def run(*words: str, code: int = 0, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edgekit.cli", *words], cwd=tmp_path, env={**os.environ, **env}, capture_output=True,
            text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout if "--json" in words else " ".join((done.stdout + done.stderr).split())

    return run


def write(folder: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], "linear",
        [make("x", onnx.TensorProto.FLOAT, [2, 4])], [make("y", onnx.TensorProto.FLOAT, [2, 3])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "model.onnx")
    (folder / "here.toml").write_text(
        'extends = "host"\nsummary = "This machine, with a stubbed Orin"\nbackends = ["tensorrt"]\n'
        '[candidates]\ntensorrt = ["fp32"]\n[device]\nsm = "8.7"\n'
    )


@pytest.mark.slow
def test_a_bundle_is_exported_finished_and_finished_again_after_an_update(board, tmp_path):
    write(tmp_path)
    output = board("export", "model.onnx", "--target", "./here.toml", "--output", "out")
    assert mentions(output, "`edgekit finish`")
    assert "is portable" in board("verify", "out", code=8)

    report = json.loads(board("finish", "out", "--json", "-q"))
    assert report["candidates"][0]["quality"]["checks"][0]["passed"]
    assert any(mentions(note, "TensorRT 10.3.0", ("Orin", "SM 8.7")) for note in report["notes"])
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["portable"], manifest["evidence"], manifest["parts"][0]["payload"][0]) == (
        False, "built_on_device", "model/engine.plan",
    )  # fmt: skip
    assert (tmp_path / "out/prepared/model.onnx").is_file() and (tmp_path / "out/prepared/plan.json").is_file()
    board("verify", "out")
    assert "python3-libnvinfer" in board("bench", "out", code=4)

    updated = {"STUB_VERSION": "v101602"}
    assert mentions(board("verify", "out", code=8, **updated), ("TensorRT", "10.3.0", "10.16.2"))
    assert mentions(board("finish", "out", code=5, STUB_ERROR="0.5", **updated), "'out'", "0.001")
    assert json.loads((tmp_path / "out/manifest.json").read_text()) == manifest
    board("finish", "out", **updated)
    board("verify", "out", **updated)
