"""Language models and what they cannot take: one error each, with a next step that helps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.data import Sample
from edgekit.errors import DeviceError, UsageError
from edgekit.model import Reference
from edgekit.pipeline import budget
from edgekit.sources.hf import HuggingFace
from edgekit.target import host
from edgekit.tasks.config import Generation, TaskConfig
from tests import stories
from tests.wording import raises

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def checkpoint(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stories.checkpoint(assets, tmp_path_factory.mktemp("stories") / "checkpoint")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "texts.csv").write_text("text\nOnce upon a time there was a dog\nThe end of the day\n")
    options = {"data": str(folder / "texts.csv"), "candidates": ["onnxruntime/fp32"], "bench": False}
    return edgekit.export(str(checkpoint), output=str(folder / "out"), **options).bundle


@pytest.fixture
def copy(assets: Path, tmp_path: Path) -> Path:
    """Return a copy of the checkpoint that a test can damage."""
    return stories.checkpoint(assets, tmp_path / "checkpoint")


def changed(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_a_prompt_longer_than_the_context(bundle: Any) -> None:
    with raises(UsageError, "512", hint="shorter"):
        bundle.predict("a " * 600)
    assert bundle.predict("a " * 20, max_new_tokens=2)["text"], "the hint helps"


def test_an_empty_prompt(bundle: Any) -> None:
    with raises(UsageError, "empty"):
        bundle.predict({"input_ids": np.zeros((1, 0), np.int64)})


def test_ids_outside_the_vocabulary(bundle: Any) -> None:
    for ids in ([1, 600], [1, -3]):
        with raises(UsageError, "0 to 511", hint="tokenizer"):
            bundle.predict({"input_ids": np.array([ids])})


def test_a_cache_larger_than_the_memory(bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small = host.probe()
    monkeypatch.setattr(host, "probe", lambda: type(small)(**{**vars(small), "memory_mb": 0}))
    task = bundle.task()
    with bundle.runner() as runner, raises(DeviceError, "0 MB", hint="--max-new-tokens"):
        list(task.stream(Sample({"text": "One day"}, None, ("text",)), runner))


def test_a_cache_larger_than_the_memory_budget(copy: Path, bundle: Any, tmp_path: Path) -> None:
    changed(copy / "generation_config.json", max_new_tokens=500)
    (tmp_path / "texts.csv").write_text("text\nOnce upon a time\nThe end\n")
    given: dict[str, Any] = {"data": str(tmp_path / "texts.csv"), "candidates": ["onnxruntime/fp32"]}
    with raises(UsageError, "501", "0.3 MB", hint="--max-memory-mb"):
        edgekit.export(str(copy), max_memory_mb=0.3, output=str(tmp_path / "out"), **given)
    assert not (tmp_path / "out").exists()
    model = bundle.runner()._specs  # as the message says, fewer tokens or a larger budget are within it
    for budget_mb, most in ((0.3, 20), (2.0, 500)):
        plan = SimpleNamespace(memory_budget_mb=budget_mb)
        budget.check_states(plan, SimpleNamespace(states=model.values()), Generation(1, max_new=most))


def test_a_missing_generation_config_means_that_of_the_config(copy: Path, tmp_path: Path) -> None:
    (copy / "generation_config.json").unlink(missing_ok=True)
    HuggingFace().load(Reference(str(copy)), tmp_path)
    generation = TaskConfig.load(tmp_path / "assets").generation
    assert generation.stops == (json.loads((copy / "config.json").read_text())["eos_token_id"],)
    assert generation.max_new == 20 and not generation.sampled


@pytest.mark.parametrize("damage", ["not JSON", "a model that tokenizers does not have", "a number as a piece"])
def test_a_tokenizer_that_cannot_be_read(copy: Path, damage: str, tmp_path: Path) -> None:
    path = copy / "tokenizer.json"
    if damage == "not JSON":
        path.write_text("{")
    elif damage == "a number as a piece":
        changed(path, model={"type": "BPE", "vocab": {"a": "b"}, "merges": []})
    else:
        changed(path, model={"type": "Unknown"})
    where, hint = (path, "copy it again") if damage == "not JSON" else (copy, "--processor")
    with raises(UsageError, str(where), hint=hint):
        HuggingFace().load(Reference(str(copy)), tmp_path)
