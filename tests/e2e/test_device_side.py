"""The device side: a bundle opens, runs and proves itself with no framework at hand, and leaves no trace at home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.testing import import_blocker
from edgekit.testing.blocking import FRAMEWORKS

from .conftest import DATA

ROOT = Path(__file__).parent.parent.parent
CHECKPOINT = ROOT / "tests" / "fixtures" / "transformers5" / "bert"
OTHER = {"onnxruntime": "openvino", "openvino": "onnxruntime"}

DEVICE = """
import json, sys
from edgekit.testing.blocking import import_blocker
blocked = import_blocker(*json.loads(sys.argv[1]))
blocked.__enter__()
import edgekit
bundle = edgekit.open(sys.argv[2])
task = bundle.task()
with bundle.session() as session:
    for feeds, expected in bundle.samples():
        outputs = session.run(feeds)
assert edgekit.verify(sys.argv[2]).ok
from edgekit.cli import cli
cli.main(["run", *sys.argv[2:], "--json"], standalone_mode=False)
heavy = {"torch", "transformers", "optimum", "onnx", "onnxscript", "huggingface_hub"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def bundles(place, common_cache) -> dict:
    """Export a bundle for each kind of input and backend: an image, a text and arrays."""
    paths = {}
    models = {"image": "digits", "text": CHECKPOINT, "npz": written(place / "net.onnx")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE_DIR", str(common_cache))
        for backend in OTHER:
            for kind, model in models.items():
                paths[kind, backend] = place / "device" / f"{kind}-{backend}"
                only = {"candidates": [f"{backend}/fp32"], "bench": False, "max_samples": 100}
                edgekit.export(model, output=paths[kind, backend], **only)
    np.savez(place / "feeds.npz", x=np.ones((1, 4), np.float32))
    return paths


def written(path: Path) -> Path:
    """Write a small ONNX file."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3) / 12, "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [weights],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def question(kind: str, place: Path) -> str:
    return {"image": str(DATA / "seven.png"), "text": "a fine film", "npz": str(place / "feeds.npz")}[kind]


@pytest.mark.parametrize("backend", OTHER)
@pytest.mark.parametrize("kind", ["image", "text", "npz"])
def test_it_runs_with_the_frameworks_and_the_other_runtime_blocked(bundles, kind, backend, place, tmp_path):
    other = OTHER[backend]
    blocked = [*FRAMEWORKS, "nncf", other, f"edgekit_{other}", "huggingface_hub", "sklearn", "pyarrow"]
    bundle = bundles[kind, backend]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DEVICE, json.dumps(blocked), bundle, question(kind, place)],
        env=bare(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)["answer"]
    if kind == "image":
        assert answer["label"] == "7"
    assert list(tmp_path.rglob("*")) == [], "something was written to the user's home"


def bare(home: Path) -> dict[str, str]:
    """Return an environment with an empty home and nothing that could silence a library: no CI, no switches."""
    kept = {"PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
    return {key: value for key, value in os.environ.items() if key in kept} | {"HOME": str(home)}


def test_the_blocker_blocks(tmp_path):
    """The proof above is worth what its blocker is."""
    with import_blocker("json"), pytest.raises(ModuleNotFoundError):
        __import__("json")
    assert __import__("json") is json


@pytest.mark.parametrize("backend", OTHER)
def test_run_leaves_an_empty_home_empty(bundles, command, backend, tmp_path):
    from .conftest import COMMAND

    for arguments in (("run", bundles["image", backend], DATA / "seven.png"), ("verify", bundles["image", backend])):
        done = subprocess.run(
            [COMMAND, *arguments], env=bare(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []


# An environment of its own


def pip(python: Path, *args: object) -> None:
    """Install into an environment by this environment's pip; skip where the packages cannot be had."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check", *args],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode != 0 and "No matching distribution" in done.stderr:
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime"])
def test_an_environment_of_edgekit_one_plugin_and_its_runtime(
    bundles, command, backend, place, tmp_path, record_property, capsys
):
    for project in (ROOT, ROOT / "plugins" / f"edgekit-{backend}"):
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "w")]
        done = subprocess.run(build, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    pip(python, *(tmp_path / "w").glob("*.whl"))
    size_mb = sum(p.stat().st_size for p in (tmp_path / "env").rglob("*") if p.is_file() and not p.is_symlink()) / 1e6
    record_property("environment_mb", round(size_mb))
    with capsys.disabled():
        print(f"\nedgekit, edgekit-{backend} and its runtime: {size_mb:.0f} MB")
    assert size_mb < 500

    home = tmp_path / "home"
    home.mkdir()

    def device(*args: object) -> subprocess.CompletedProcess:
        arguments = [tmp_path / "env" / "bin" / "edgekit", *args]
        return subprocess.run(arguments, env=bare(home), cwd=home, capture_output=True, text=True, timeout=60)

    for kind in ("image", "text", "npz"):
        proved = device("verify", bundles[kind, backend])
        assert proved.returncode == 0, proved.stderr
    arrays = device("run", bundles["npz", backend], place / "feeds.npz", "--json")
    assert arrays.returncode == 0, arrays.stderr
    missing = device("run", bundles["image", backend], DATA / "seven.png")
    assert missing.returncode == 3
    assert "hint: pip install 'edgekit[tasks]'" in missing.stderr
    assert device("bench", bundles["npz", backend], "--seconds", "0.2").returncode == 0

    pip(python, "pillow", "tokenizers")
    answer = device("run", bundles["image", backend], DATA / "seven.png", "--json")
    assert json.loads(answer.stdout)["answer"]["label"] == "7"
    assert device("run", bundles["text", backend], "a fine film", "--json").returncode == 0
    assert list(home.rglob("*")) == []
