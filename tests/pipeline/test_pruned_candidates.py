"""`--prune`: which candidates it adds, what it asks for, and a pruned model from the command's plan to its bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import api, project
from edgekit.errors import UnsupportedError, UsageError
from tests.wording import raises

pytestmark = pytest.mark.needs("torch_pruning", "optimum.onnxruntime")

DATA = Path(__file__).parent.parent.parent / "edgekit" / "embedded" / "digits" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))


def test_each_recipe_of_the_target_gets_a_pruned_form() -> None:
    plain = api.plan("digits", backends=["onnxruntime"])
    plan = api.plan("digits", backends=["onnxruntime"], prune=0.25, train=DATA)
    before = [c.name for c in plain.candidates]
    assert [c.name for c in plan.candidates][: len(before)] == before
    names = [c.recipe.name for c in plain.candidates]
    added = plan.candidates[len(before) :]
    assert [c.recipe.name for c in added] == ["pruned" if n == "fp32" else f"pruned-{n}" for n in names]
    assert all(c.recipe.passes[0].config == {"round_to": 8, "ratio": 0.25} for c in added)
    # The plan is a project file that does just this.
    again = api.plan(**project.Project.from_dict(_toml(plan.to_toml())).to_dict())
    assert [c for c in again.candidates if not c.problems] == [c for c in plan.candidates if not c.problems]


def _toml(text: str) -> dict[str, object]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def test_pruning_asks_for_training_data() -> None:
    with raises(UsageError, "prune = 0.5", hint="--train DIR"):
        api.plan("digits", prune=0.5)
    with raises(UsageError, "'pruned'", hint=("--train DIR", "--data")):
        api.plan("digits", recipe="pruned", backends=["onnxruntime"])


def test_a_graph_cannot_be_pruned(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, 1, ["batch", 3]) for name in "xy"]
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "m.onnx")
    with raises(UnsupportedError, "onnxruntime/pruned", "'prune'", "'onnx'"):
        api.plan(tmp_path / "m.onnx", recipe="pruned", train=DATA, data=DATA, backends=["onnxruntime"])
    for asked, message in (({"prune": 0.5}, "prune = 0.5"), ({"qat": True}, "--qat")):
        with raises(UsageError, message, "m.onnx'"):
            api.plan(tmp_path / "m.onnx", train=DATA, data=DATA, **asked)


@pytest.mark.parametrize("name", ["data", "calibration", "train"])
def test_samples_that_are_not_there_are_told_before_any_work(name: str, tmp_path: Path) -> None:
    with raises(UsageError, "nowhere'"):
        api.plan("digits", **{name: str(tmp_path / "nowhere")})


def test_a_pruned_model_is_gated_and_shipped_with_its_lineage(tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'summary = "small"\n[[passes]]\nname = "prune"\n[passes.config]\nratio = 0.2\nround_to = 4\n'
        "recovery = { epochs = 1 }\n[[passes]]\nname = \"quantize-static\"\n"
    )  # fmt: skip
    result = api.export(
        "digits",
        output=tmp_path / "out",
        candidates=[f"onnxruntime/{recipe}"],
        train=DATA,
        bench=False,
        max_drop="100%",
    )
    (candidate,) = result.report.candidates
    assert candidate.status == "shipped" and candidate.quality.labelled
    lineage = result.bundle.manifest.lineage
    assert [step.name for step in lineage] == ["prune", "export", "quantize-static"]
    assert lineage[0].notes[0].startswith("multiply-adds: ")
    assert lineage[1].before == lineage[0].after
