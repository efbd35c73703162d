"""Passes on the torch module: planned before the export, run once for all candidates that share them, cached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import api, cache
from edgekit.data import DataRef, Feeds, TrainingData, load
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.plugin import Trainable
from edgekit.testing.install import install, installed
from tests.wording import mentions, raises

pytestmark = pytest.mark.needs("optimum.onnxruntime")

NET = """
import torch

def net():
    torch.manual_seed(3)
    layers = torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    return torch.nn.Sequential(*layers).eval(), torch.zeros(1, 6)
"""

PASSES = '''
import copy, time
from dataclasses import dataclass
from typing import ClassVar

from edgekit.frameworks import torch_pass
from edgekit.plugin import Record


@dataclass(frozen=True)
class Narrow(Record):
    """Keep the first hidden units: another shape of the same module."""
    name: ClassVar[str] = "narrow"
    accepts: ClassVar[frozenset] = frozenset({"torch"})
    gives: ClassVar[str] = "torch"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    keep: int = 12

    def apply(self, model, samples, workdir):
        import torch
        net = copy.deepcopy(torch_pass.module_of(model))
        first, last = torch.nn.Linear(6, self.keep), torch.nn.Linear(self.keep, 3)
        first.weight.data, first.bias.data = net[0].weight.data[: self.keep], net[0].bias.data[: self.keep]
        last.weight.data, last.bias.data = net[2].weight.data[:, : self.keep], net[2].bias.data
        net[0], net[2] = first, last
        return torch_pass.changed(model, net, name=self.name, config=self.to_dict(), packages=("torch",), seconds=0.0)


@dataclass(frozen=True)
class Nudge(Record):
    """Fit the last layer to the labels, a little; its folder counts how often."""
    name: ClassVar[str] = "nudge"
    accepts: ClassVar[frozenset] = frozenset({"torch"})
    gives: ClassVar[str] = "torch"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    trains: ClassVar[bool] = True
    rate: float = 1e-3

    def apply(self, model, samples, workdir, training=None):
        import torch
        net = copy.deepcopy(torch_pass.module_of(model))
        changed = torch_pass.with_module(model, net)
        data, weight = training.data, net[2].weight
        inputs = {name: torch.from_numpy(array) for name, array in data.batch(range(len(data))).items()}
        with training.progress.step("nudge"):
            answer = next(iter(torch_pass.outputs(changed, inputs).values()))
            torch.nn.functional.cross_entropy(answer, torch.tensor(data.labels)).backward()
        weight.data -= self.rate * weight.grad
        (training.folder / f"{time.monotonic_ns()}").touch()
        net.zero_grad(set_to_none=True)
        return torch_pass.changed(model, net, name=self.name, config=self.to_dict(), packages=("torch",), seconds=0.0)
'''

SOME_NUDGE = '[[passes]]\nname = "nudge"\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a net, labelled data, recipes, and a plugin with two passes on torch modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    dice = np.random.default_rng(5)
    for name, count in (("data", 60), ("train", 40)):
        rows = dice.standard_normal((count, 6)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", input=rows, label=rows[:, :3].argmax(1))
    (tmp_path / "nudged.toml").write_text(f'summary = "nudged"\n{SOME_NUDGE}')
    (tmp_path / "narrow.toml").write_text(f'summary = "narrow"\n[[passes]]\nname = "narrow"\n{SOME_NUDGE}')
    (tmp_path / "narrow8.toml").write_text(
        f'summary = "narrow, int8"\n[[passes]]\nname = "narrow"\n{SOME_NUDGE}[[passes]]\nname = "quantize-dynamic"\n'
    )
    (tmp_path / "late.toml").write_text(f'summary = "late"\n[[passes]]\nname = "cast"\n{SOME_NUDGE}')
    points = {"edgekit.passes": {"nudge": "live_passes:Nudge", "narrow": "live_passes:Narrow"}}
    files = {"live_nets.py": NET, "live_passes.py": PASSES}
    with installed(install(tmp_path / "site", "edgekit-torch-passes", points, files)):
        yield tmp_path


def export(place: Path, *recipes: str, **options: object):
    settings = {
        "task": "tabular-classification",
        "metric": "accuracy",
        "max_drop": "100%",
        "bench": False,
        "force": True,
        **options,
    }
    if recipes:
        settings["candidates"] = [f"onnxruntime/{name}" for name in recipes]
    return api.export(
        "live_nets:net", output=place / "out", data="data.npz", train="train.npz", **settings
    )  # fmt: skip


def counts(place: Path) -> list[int]:
    """How often each training was done."""
    return sorted(len(list(folder.iterdir())) for folder in (place / "cache" / "partial").glob("nudge.*"))


def test_a_trained_module_is_exported_as_the_original_is(place: Path) -> None:
    result = export(place, "nudged.toml")
    bundle = result.bundle
    assert [step.name for step in bundle.manifest.lineage] == ["nudge", "export"]
    nudge, exported = bundle.manifest.lineage
    assert exported.before == nudge.after != nudge.before
    assert nudge.tools["torch"] and nudge.config == {"rate": 1e-3}
    quality = result.report.shipped.quality
    assert 0 < quality.rel_l2 < 0.05, "the outputs moved, and not far"


def test_what_two_candidates_share_is_trained_once_and_found_again(place: Path) -> None:
    first = export(place, "narrow.toml", "narrow8.toml")
    assert counts(place) == [1]
    assert [step.name for step in first.bundle.manifest.lineage] == ["narrow", "nudge", "export"]
    again = export(place, "narrow8.toml", "narrow.toml")
    assert counts(place) == [1], "it was trained again"
    assert {c.name: c.quality for c in first.report.candidates} == {c.name: c.quality for c in again.report.candidates}
    export(place, "narrow.toml", metric="accuracy", seed=1)
    assert counts(place) == [1, 1], "another seed is another training"


def test_the_folder_of_a_training_counts_as_cache_and_is_cleared(place: Path) -> None:
    export(place, "nudged.toml")
    assert "nudge" in {entry.step for entry in cache.usage()}
    (folder,) = (place / "cache" / "partial").iterdir()
    with cache.partial(folder.name.partition(".")[2], "nudge"):
        cache.clear()
        assert folder.is_dir(), "it was in use"
    cache.clear()
    assert cache.usage() == () and not folder.exists()


def test_without_training_data_the_recipe_is_refused_in_words(place: Path) -> None:
    with raises(UsageError, "'nudged'", hint="--train DIR") as refused:
        api.plan("live_nets:net", recipe="nudged.toml", data="data.npz", backends=["onnxruntime"])
    assert "--train" in str(refused.value.hint)
    with raises(UnsupportedError, "onnxruntime/nudged", "--data"):
        api.plan("live_nets:net", recipe="nudged.toml", train="train.npz", backends=["onnxruntime"])
    plan = api.plan("live_nets:net", candidates=["onnxruntime/fp32", "onnxruntime/nudged.toml"], data="data.npz")
    (problem,) = plan.candidates[1].problems
    assert mentions(problem, "--train")


def test_a_file_of_a_graph_has_no_module_to_train(place: Path) -> None:
    export(place, "fp32")
    graph = place / "out" / "model" / "model.onnx"
    with raises(UnsupportedError, "onnxruntime/nudged", "'nudge'", "'onnx'"):
        api.plan(str(graph), recipe="nudged.toml", data="data.npz", train="train.npz", backends=["onnxruntime"])
    with raises(UnsupportedError, "onnxruntime/late", "'nudge'", "'onnx'"):
        api.plan(
            "live_nets:net", recipe="late.toml", data="data.npz", train="train.npz", backends=["onnxruntime"]
        )  # fmt: skip


def test_samples_that_train_and_evaluate_are_said(place: Path) -> None:
    result = api.export(
        "live_nets:net", output=place / "out", data="data.npz", train="data.npz", bench=False, max_drop="100%",
        task="tabular-classification", metric="accuracy", candidates=["onnxruntime/nudged.toml"],
    )  # fmt: skip
    (note,) = [note for note in result.report.notes if "training samples too" in note]
    assert mentions(note, "48 of 48 evaluation samples")
    assert result.report.data.training_samples == 60


def test_the_pass_fulfils_the_contract(place: Path) -> None:
    from edgekit import registry

    assert isinstance(registry.pass_type("nudge")(), Trainable)
    assert not isinstance(registry.pass_type("narrow")(), Trainable)


class Learner:
    """Two inferences a sample, of one row each, of different lengths."""

    from edgekit._record import Record as config_type

    config = config_type()

    def steps(self, sample):
        for length in sample.fields["lengths"]:
            yield "model", {"x": np.asarray(sample.fields["x"])[None, :length]}

    def label(self, raw):
        return raw + 1


@pytest.mark.parametrize(("left", "filled"), [(False, [1, 2, 9, 9]), (True, [9, 9, 1, 2])])
def test_batches_are_filled_up_and_labels_read(tmp_path: Path, left: bool, filled: list[int]) -> None:
    rows = [{"x": [1, 2, 3, 4], "lengths": [2, 4], "label": 0}, {"x": [5, 6, 7, 8], "lengths": [3, 1], "label": None}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = TrainingData(
        load(DataRef(str(tmp_path / "rows.jsonl"))), Learner(), "classes", padding={"x": 9}, pad_left=left
    )
    assert len(data) == 4
    assert data.labels == (1, 1, -100, -100)
    batch = data.batch([1, 0])["x"]
    assert batch.tolist() == [[1, 2, 3, 4], filled]
    assert data.inputs(2)["x"].tolist() == [[5, 6, 7]]
    assert isinstance(data.feeds, Feeds) and len(list(data.feeds)) == 4
    assert TrainingData(data.samples, Learner()).labels is None


def test_training_prefers_the_split_for_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", train_x=np.zeros((4, 2)), test_x=np.ones((3, 2)))
    assert len(load(DataRef(str(tmp_path / "all.npz")))) == 3
    assert len(load(DataRef(str(tmp_path / "all.npz"), train=True))) == 4
    for name in ("train", "test"):
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / "tables" / f"{name}.csv").write_text("a,label\n1,2\n" * (1 if name == "test" else 2))
    assert len(load(DataRef(str(tmp_path / "tables"), train=True))) > len(load(DataRef(str(tmp_path / "tables"))))


def test_a_model_without_a_known_original_is_refused(tmp_path: Path) -> None:
    from edgekit.frameworks import torch_pass

    with raises(UnsupportedError, "'NoneType'", hint="int8-static"):
        torch_pass.outputs(Model("torch", module=object()), {})
