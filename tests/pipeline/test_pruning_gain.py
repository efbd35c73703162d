"""A pruned candidate is shipped where it is faster than its recipe without the pruning, and else called no gain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import api, catalog
from edgekit.errors import PerformanceFailure
from edgekit.pipeline import baselines, pass_defaults, recipe_passes
from edgekit.recipe.recipe import PassConfig
from edgekit.report import text
from edgekit.result.report import Report
from edgekit.target import target
from edgekit.testing.install import install, installed
from tests.wording import mentions, raises

pytestmark = pytest.mark.needs("optimum.onnxruntime")

NET = """
import torch

def net():
    torch.manual_seed(3)
    relu = torch.nn.ReLU
    layers = torch.nn.Linear(6, 512), relu(), torch.nn.Linear(512, 512), relu(), torch.nn.Linear(512, 3)
    return torch.nn.Sequential(*layers).eval(), torch.zeros(1, 6)
"""

RESIZE = '''
import copy
from dataclasses import dataclass
from typing import ClassVar

from edgekit.frameworks import torch_pass
from edgekit.plugin import Record


@dataclass(frozen=True)
class Resize(Record):
    """Change the width of the hidden layers: fewer units, or more that do nothing."""
    name: ClassVar[str] = "resize"
    accepts: ClassVar[frozenset] = frozenset({"torch"})
    gives: ClassVar[str] = "torch"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    prunes: ClassVar[bool] = True
    width: int = 16

    def apply(self, model, samples, workdir):
        import torch
        net = copy.deepcopy(torch_pass.module_of(model))
        for place in (0, 2, 4):
            old = net[place]
            fan_in = old.in_features if place == 0 else self.width
            fan_out = old.out_features if place == 4 else self.width
            new = torch.nn.Linear(fan_in, fan_out)
            rows, columns = min(fan_out, old.out_features), min(fan_in, old.in_features)
            new.weight.data.zero_()
            new.bias.data.zero_()
            new.weight.data[:rows, :columns] = old.weight.data[:rows, :columns]
            new.bias.data[:rows] = old.bias.data[:rows]
            net[place] = new
        return torch_pass.changed(model, net, name=self.name, config=self.to_dict(), packages=("torch",), seconds=0.0)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a net, labelled data, recipes, and a pass that makes the net smaller, or larger."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    rows = np.random.default_rng(5).standard_normal((60, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", input=rows, label=rows[:, :3].argmax(1))
    for name, width in (("small", 16), ("large", 2048)):
        head = f'summary = "{name}"\n[[passes]]\nname = "resize"\nconfig = {{ width = {width} }}\n'
        (tmp_path / f"{name}.toml").write_text(head)
        (tmp_path / f"{name}8.toml").write_text(head + '[[passes]]\nname = "quantize-dynamic"\n')
    points = {"edgekit.passes": {"resize": "resizing:Resize"}}
    with installed(install(tmp_path / "site", "edgekit-resize", points, {"gain_net.py": NET, "resizing.py": RESIZE})):
        yield tmp_path


OPTIONS = {
    "data": "data.npz", "metric": "accuracy", "task": "tabular-classification", "max_drop": "100%",
    "bench_seconds": 0.2, "tune": False, "mixed": False,
}  # fmt: skip


def export(place: Path, *recipes: str) -> Report:
    candidates = [f"onnxruntime/{name}" for name in recipes]
    return api.export("gain_net:net", output=place / "out", force=True, candidates=candidates, **OPTIONS).report


@pytest.mark.alone
def test_what_is_smaller_and_faster_is_shipped(place: Path) -> None:
    report = export(place, "small.toml")
    fared = {candidate.name: candidate.status for candidate in report.candidates}
    assert fared == {"onnxruntime/small": "shipped", "onnxruntime/fp32": "baseline"}


@pytest.mark.alone
def test_what_gains_nothing_is_said_and_not_shipped(place: Path) -> None:
    report = export(place, "fp32", "large.toml")
    fared = {candidate.name: candidate for candidate in report.candidates}
    assert fared["onnxruntime/fp32"].status == "shipped"
    useless = fared["onnxruntime/large"]
    assert useless.status == "no-gain"
    assert mentions(useless.reason, "pruning")
    assert mentions(useless.reason, re.compile(r"\d\.\d+x .*onnxruntime/fp32 .*p50 .* ms"))
    assert "no gain" in text.render(report)


@pytest.mark.alone
def test_alone_it_fails_the_export(place: Path) -> None:
    with raises(PerformanceFailure, "large8") as failed:
        export(place, "large8.toml")
    report = Report.load(failed.value.context["report"])
    fared = {candidate.name: candidate.status for candidate in report.candidates}
    # Held against int8 without the pruning, and, as every lossy recipe, against full precision.
    assert fared == {
        "onnxruntime/large8": "no-gain", "onnxruntime/fp32": "baseline", "onnxruntime/int8-dynamic": "baseline",
    }  # fmt: skip
    assert report.failures and not report.ok


def test_the_counterpart_is_planned_once(place: Path) -> None:
    def names(*candidates: str) -> list[str]:
        plan = api.plan("gain_net:net", candidates=list(candidates), **OPTIONS)
        return [candidate.name for candidate in plan.candidates if candidate.baseline]

    assert names("onnxruntime/small8.toml", "onnxruntime/int8-dynamic", "onnxruntime/fp32") == []
    assert names("onnxruntime/small8.toml", "onnxruntime/large8.toml", "onnxruntime/fp32") == [
        "onnxruntime/int8-dynamic"
    ]
    assert names("onnxruntime/int8-dynamic") == ["onnxruntime/fp32"]


def test_a_plain_recipe_is_the_built_in_one_where_it_is_that() -> None:
    goal = target.load("host")
    qat = pass_defaults.resolve(catalog.recipe("int8-qat"), goal, "onnxruntime")
    assert baselines.plain(qat, recipe_passes.without_pruning(qat), goal, "onnxruntime").name == "int8-static"
    own = (PassConfig("cast", {"dtype": "f16", "keep": ["Softmax"]}),)
    assert baselines.plain(qat, own, goal).name == "int8-qat-whole"
