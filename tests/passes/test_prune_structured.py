"""The pass `prune`: as much work is removed as asked, recovered, exported, and the same after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit import tasks
from edgekit.data import Samples, TrainingData
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Model, Reference
from edgekit.plugin import Training
from edgekit.progress import Silent
from edgekit.spec import TensorSpec
from edgekit.tasks.config import ImageConfig, TaskConfig, TextConfig
from edgekit.testing import TorchPassTests
from tests.wording import raises

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.needs("torch_pruning", "optimum.onnxruntime")

from edgekit.frameworks import torch_pass  # noqa: E402  # they need torch
from edgekit.passes.export.export import Export  # noqa: E402
from edgekit.passes.prune.structured import Prune  # noqa: E402
from edgekit.passes.train.recovery import Recovery  # noqa: E402
from edgekit.sources.torch_module import load_module  # noqa: E402

QUICK = Recovery(epochs=2, batch_size=16, shift=0.0, learning_rate=5e-3)


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of a bright bar in noise, vertical or horizontal: two classes."""
    generator = np.random.default_rng(seed)
    images = generator.normal(0, 0.5, (count, 1, 8, 8)).astype(np.float32)
    labels = generator.integers(0, 2, count)
    for image, label, position in zip(images, labels, generator.integers(1, 7, count), strict=True):
        image[0][(slice(None), position) if label else (position, slice(None))] += 1
    return images, labels


class Net(torch.nn.Module):
    """A small residual classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 16, 3, padding=1)
        self.inner = torch.nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(32)
        self.outer = torch.nn.Conv2d(32, 16, 3, padding=1)
        self.head = torch.nn.Linear(16, 2)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.head((x + self.outer(torch.relu(self.norm(self.inner(x))))).amax((2, 3)))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    net, (images, labels) = Net(), pictures(256, 0)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


@pytest.fixture
def model(net, tmp_path: Path) -> Model:
    (tmp_path / "model").mkdir()
    return load_module((net, torch.zeros(1, 1, 8, 8)), Reference("net"), tmp_path / "model")


def picture_data(*, labelled: bool = True) -> TrainingData:
    images, labels = pictures(64, 1)
    config = TaskConfig("image-classification", image=ImageConfig(input="x", size=(8, 8)))
    task = tasks.load(config, Path(), (TensorSpec("x", "f32", ("batch", 1, 8, 8)),))
    samples = Samples.from_feeds([{"x": image[None]} for image in images], list(labels) if labelled else None)
    return TrainingData(samples, task, "classes", None, "x")


def pruned(model: Model, folder: Path, *, data=None, **settings) -> Model:
    (folder / "work").mkdir(parents=True, exist_ok=True)
    training = Training(data or picture_data(), model, folder, Silent())
    return Prune(**{"recovery": QUICK, **settings}).apply(model, None, folder / "work", training)


def accuracy(model: Model) -> float:
    images, labels = pictures(400, 9)
    with torch.no_grad():
        return float((torch_pass.module_of(model)(torch.from_numpy(images)).argmax(1).numpy() == labels).mean())


def exported(model: Model, folder: Path, inputs, run_onnxruntime) -> None:
    """Export, and compare the graph's outputs with the module's."""
    folder.mkdir()
    graph = Export().apply(model, None, folder).graph
    (output,) = run_onnxruntime(graph, inputs)
    assert model.original is not None
    (expected,) = model.original.run(inputs).values()
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-4)


def test_half_of_the_work_is_removed_and_accuracy_recovers(model: Model, tmp_path: Path, run_onnxruntime) -> None:
    before = torch_pass.digest_of(torch_pass.module_of(model))
    smaller = pruned(model, tmp_path / "a", ratio=0.5)
    small = torch_pass.module_of(smaller)
    assert torch_pass.digest_of(torch_pass.module_of(model)) == before, "the original is not changed"
    assert (small.stem.out_channels % 8, small.inner.out_channels % 8, small.head.out_features) == (0, 0, 2)
    assert accuracy(model) > 0.95 < accuracy(smaller) + 0.04
    (step,) = smaller.steps
    first = step.notes[0]
    whole, left = (int(word.replace(",", "")) for word in (first.split()[1].rstrip(","), first.split()[3]))
    assert whole == 64 * 9 * (16 + 2 * 16 * 32) + 32
    assert 0 < left <= whole // 2
    sizes = f"channels 48 to {small.stem.out_channels + small.inner.out_channels}: "
    assert step.notes[1].startswith(sizes) and any("loss" in note for note in step.notes)
    assert (step.name, step.config["ratio"], step.before) == ("prune", 0.5, before)
    assert {"torch", "torch-pruning"} <= set(step.tools)
    exported(smaller, tmp_path / "graph", {"x": pictures(3, 5)[0]}, run_onnxruntime)


@pytest.mark.parametrize("importance", ["taylor", "magnitude"])
def test_useless_units_are_removed_first(importance: str, model: Model, tmp_path: Path) -> None:
    with torch.no_grad():
        net = torch_pass.module_of(model)
        kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        for tensor in (net.inner.weight, net.norm.weight, net.norm.bias, net.outer.weight.transpose(0, 1)):
            tensor[8:24] *= 1e-5
    try:
        smaller = pruned(
            model, tmp_path / "a", ratio=0.3, importance=importance, exclude=("stem",), data=picture_data()
        )
    finally:
        net.load_state_dict(kept)
    plan = json.loads((tmp_path / "a" / "prune-1.json").read_text())["plan"]
    gone = {cut["module"]: set(cut["remove"]) for cut in plan["cuts"]}
    assert gone["inner"] == gone["norm"] == gone["outer"] <= set(range(8, 24))
    assert torch_pass.module_of(smaller).stem.out_channels == 16


def test_without_labels_the_models_own_answers_decide_importance(model: Model, tmp_path: Path) -> None:
    smaller = pruned(model, tmp_path / "a", ratio=0.4, data=picture_data(labelled=False))
    assert accuracy(smaller) > 0.9


def text_data() -> TrainingData:
    """Return token ids of different lengths; the label is whether a 7 is among them."""
    generator = np.random.default_rng(2)
    rows = [generator.integers(5, 30, generator.integers(3, 9)) for _ in range(32)]
    specs = tuple(TensorSpec(name, "i64", ("batch", "tokens")) for name in ("input_ids", "attention_mask"))
    task = tasks.load(TaskConfig("text-classification", text=TextConfig(), metric="accuracy"), Path(), specs)
    feeds = [{"input_ids": row[None], "attention_mask": np.ones((1, len(row)), np.int64)} for row in rows]
    return TrainingData(Samples.from_feeds(feeds, [int(7 in row) for row in rows]), task, "classes")


def test_a_transformer_loses_heads_and_neurons_and_exports(tmp_path: Path, run_onnxruntime) -> None:
    import onnx

    torch.manual_seed(1)
    config = transformers.DistilBertConfig(
        vocab_size=30, dim=32, n_heads=4, n_layers=2, hidden_dim=64, num_labels=2
    )  # fmt: skip
    (tmp_path / "model").mkdir()
    reference = Reference("bert", task="text-classification")
    model = load_module(transformers.DistilBertForSequenceClassification(config).eval(), reference, tmp_path / "model")
    smaller = pruned(model, tmp_path / "a", data=text_data(), ratio=0.4, recovery=Recovery(epochs=1, batch_size=16))
    layers = torch_pass.module_of(smaller).distilbert.transformer.layer
    heads = [layer.attention.n_heads for layer in layers]
    assert sum(heads) < 8 and sum(layer.ffn.lin1.out_features for layer in layers) < 128
    inputs = {"input_ids": np.array([[5, 7, 9, 11]]), "attention_mask": np.ones((1, 4), np.int64)}
    exported(smaller, tmp_path / "graph", inputs, run_onnxruntime)
    kernels = [tuple(tensor.dims) for tensor in onnx.load(tmp_path / "graph" / "model.onnx").graph.initializer]
    assert sum(dims == (32, 32) for dims in kernels) < 8, "the graph's own products are smaller"


def test_what_cannot_be_pruned_is_refused_with_the_reason(model: Model, tmp_path: Path) -> None:
    with raises(UnsupportedError, "multiples of 16", hint=["ratio", "round_to = 1"]):
        pruned(model, tmp_path / "a", ratio=0.95, round_to=16)
    with raises(UsageError, ("'sten'", "'stem'"), hint="named_modules()"):
        pruned(model, tmp_path / "b", exclude=("sten",))
    with raises(UnsupportedError, "'Net'", "pruned", hint="recipe"):
        pruned(model, tmp_path / "c", exclude=("stem", "inner"))
    for settings in ({"ratio": 1.0}, {"ratio": 0.0}, {"steps": 0}, {"round_to": 0}):
        with raises(UsageError, *(f"{name} = {value:g}" for name, value in settings.items())):
            Prune(**settings)


class Mean(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class TestPrune(TorchPassTests):
    """Two steps, each with a recovery of two epochs."""

    def subject(self):
        return Prune(ratio=0.5, steps=2, round_to=4, recovery=replace(QUICK, epochs=4))

    def module(self):
        torch.manual_seed(0)
        return Net(), torch.zeros(1, 1, 8, 8)

    def unfit(self):
        return Mean(), torch.zeros(1, 1, 8, 8)

    def feeds(self, inputs):
        return [{"x": image[None]} for image in pictures(64, 1)[0]]

    def labels(self):
        return pictures(64, 1)[1].tolist()
