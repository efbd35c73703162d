"""Two runs of a recipe, in processes of their own with empty caches, give byte-equal models: each built-in recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit import catalog
from edgekit.frameworks.onnx_model import part_of
from edgekit.model import Model
from edgekit.pipeline import recipe_passes

SCRIPT = """
import json, sys, tempfile
from pathlib import Path
import numpy as np
import edgekit
from edgekit import registry
from edgekit.pipeline import pass_defaults
from edgekit import catalog
from edgekit._record import digest_of_file
from edgekit.pipeline.builder import Builder
from edgekit.data import Feeds
from edgekit.errors import UnsupportedError
from edgekit.evaluation.dataset import prepare
from edgekit.model import Model
from edgekit.progress import Silent

names = sys.argv[2].split(",")
digests = {}
candidates = [f"{backend}/{name}" for backend in ("onnxruntime", "openvino") for name in names]
plan = edgekit.plan("digits", candidates=candidates, bench=False, calibration_samples=16)
with Builder(plan, Silent()) as build:
    model = build.exported()
    feeds = prepare(plan.project, model).feeds
    for planned in plan.candidates:
        try:
            typed = build.with_passes(model, planned, feeds)
        except UnsupportedError as fault:
            digests[f"digits {planned.name}"] = "refused: " + fault.message
            continue
        digests[f"digits {planned.name}"] = typed.digest
        if not planned.problems:
            compiled = build.compiled(typed, planned)
            files = [digest_of_file(compiled.folder / f) for f in compiled.built.files]
            digests[f"digits {planned.name} built"] = files
feeds = Feeds.from_arrays(
    [{"x": np.random.default_rng(number).standard_normal((1, 6, 32), np.float32)} for number in range(12)]
)
for name in names:
    model = Model.load(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as scratch:
        for number, step in enumerate(pass_defaults.resolve(catalog.recipe(name), plan.target).passes):
            work = Path(scratch) / str(number)
            work.mkdir()
            model = registry.pass_type(step.name).from_dict(step.config).apply(model, feeds, work)
        digests[f"block {name}"] = model.digest
print(json.dumps(digests))
"""

NAMES = [
    name
    for name, recipe in catalog.recipes().items()
    if not (recipe_passes.before_export(recipe) or recipe_passes.missing_packages(recipe))
]
"""All but those that begin on the torch module and train it; the tests of their passes hold them to the same."""


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a block of a transformer without attention: a norm, two products that read it, an activation, a product."""
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) / 4

    constants = {
        "g": 1 + floats(32),
        "b": floats(32),
        "w1": floats(32, 160),
        "w2": floats(32, 160),
        "w3": floats(160, 32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"], "norm"),
            helper.make_node("MatMul", ["n", "w1"], ["a"], "first"),
            helper.make_node("Tanh", ["a"], ["t"], "tanh"),
            helper.make_node("MatMul", ["n", "w2"], ["c"], "second"),
            helper.make_node("Mul", ["t", "c"], ["m"], "gate"),
            helper.make_node("MatMul", ["m", "w3"], ["y"], "third"),
        ],
        "block",
        [helper.make_tensor_value_info("x", 1, [1, "T", 32])],
        [helper.make_tensor_value_info("y", 1, [1, "T", 32])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = tmp_path_factory.mktemp("block")
    onnx.save(proto, folder / "model.onnx")
    Model("onnx", (part_of(proto),), folder=folder).save()
    return folder


ONE_OF_A_KIND = {
    "fp32",
    "fp16",
    "int8-static",
    "int8-entropy",
    "int8-smooth",
    "int8-dynamic",
    "int4-weights",
    "int8-nncf",
}
"""A recipe of each pass; the others differ in its settings."""


@pytest.fixture(scope="module")
def runs(block: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Run the recipes of the chosen tests in two processes that share nothing, with differing hash seeds."""
    chosen = {item.callspec.params["name"] for item in request.session.items if item.path == request.path}
    started = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "EDGEKIT_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
        env.pop("OMP_NUM_THREADS", None)  # on all cores, where sums may come in any order
        command = [sys.executable, "-c", SCRIPT, str(block), ",".join(sorted(chosen))]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    finished = [process.communicate(timeout=600) for process in started]
    assert [process.returncode for process in started] == [0, 0], finished[0][1] + finished[1][1]
    return [json.loads(out) for out, _ in finished]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ONE_OF_A_KIND else pytest.mark.nightly) for name in NAMES]
)
def test_two_runs_give_equal_bytes(name: str, runs: list[dict[str, Any]]) -> None:
    first, second = (
        {key: digest for key, digest in run.items() if name in key.replace("/", " ").split()} for run in runs
    )
    assert first == second
    assert len(first[f"block {name}"]) == 64
    assert f"digits onnxruntime/{name}" in first and f"digits openvino/{name}" in first
