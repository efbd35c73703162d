"""Recovery of transformers models, on texts of different lengths: as repeatable as that of any network."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pytest

from edgekit import tasks
from edgekit.data import Samples, TrainingData
from edgekit.model import Model, Reference
from edgekit.plugin import Training
from edgekit.progress import Silent
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TaskConfig, TextConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.needs("optimum.onnxruntime")

from edgekit.frameworks import torch_pass  # noqa: E402  # they need torch
from edgekit.passes.train.recover import recover  # noqa: E402
from edgekit.passes.train.recovery import Recovery  # noqa: E402
from edgekit.sources.torch_module import load_module  # noqa: E402

SETTINGS = Recovery(epochs=3, batch_size=8, learning_rate=2e-3)


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=2,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture
def model(bert, tmp_path: Path) -> Model:
    return load_module(bert, Reference("bert", task="text-classification"), tmp_path)


def data() -> TrainingData:
    """Return token ids of different lengths; the label is whether a 7 is among them."""
    generator = np.random.default_rng(2)
    rows = [generator.integers(5, 30, generator.integers(3, 9)) for _ in range(40)]
    specs = tuple(
        TensorSpec(name, "i64", ("batch", "tokens")) for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    task = tasks.load(TaskConfig("text-classification", text=TextConfig(), metric="accuracy"), Path(), specs)
    samples = Samples.from_feeds([{"input_ids": row[None]} for row in rows], [int(7 in row) for row in rows])
    return TrainingData(samples, task, "classes")


def damaged(model: Model) -> Model:
    net = copy.deepcopy(torch_pass.module_of(model))
    with torch.no_grad():
        net.bert.encoder.layer[0].output.dense.weight *= -1
    return torch_pass.with_module(model, net)


class Killed(BaseException):
    pass


class Kills(Silent):
    def __init__(self, at: int | None) -> None:
        self.left = at

    def step(self, title: str, total: int | None = None):
        from contextlib import contextmanager

        @contextmanager
        def open_step():
            def tick(count: int = 1, detail: str = "") -> None:
                if self.left is not None and title.startswith("training") and count == 1:
                    self.left -= 1
                    if self.left == 0:
                        raise Killed

            yield tick

        return open_step()


def trained(model: Model, folder: Path, *, kill: int | None = None):
    folder.mkdir(exist_ok=True)
    return recover(damaged(model), Training(data(), model, folder, Kills(kill)), SETTINGS, stage="s")


def test_it_learns_and_repeats_itself_killed_or_not(model: Model, tmp_path: Path) -> None:
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()
    whole = trained(model, tmp_path / "whole")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert whole.steps == 15 and whole.last_loss < whole.first_loss
    for at in (8, 4):
        with pytest.raises(Killed):
            trained(model, tmp_path / "broken", kill=at)
    done = trained(model, tmp_path / "broken")
    assert torch_pass.digest_of(torch_pass.module_of(done.model)) == torch_pass.digest_of(
        torch_pass.module_of(whole.model)
    )
    assert {path.name for path in (tmp_path / "broken").iterdir()} == {"s.result", "teacher.0.npy", "teacher.count"}
