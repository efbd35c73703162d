"""Checkpoints saved by transformers 5 give the same numbers here, or are refused (fixtures/make_transformers5.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.sources import transformers5
from edgekit.sources.hf import HuggingFace
from tests.wording import raises

SAVED_BY_5 = Path(__file__).parent.parent / "fixtures" / "transformers5"
MAPPED = ("bert", "distilbert", "gpt-neox", "llama", "llama3", "modernbert", "qwen2", "resnet", "vit")
WITH_TEXT = tuple(name for name in MAPPED if (SAVED_BY_5 / name / "tokenizer.json").exists())


def expected(name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    with np.load(SAVED_BY_5 / name / "expected.npz") as file:
        return {key[3:]: file[key] for key in file if key.startswith("in.")}, file["out.logits"]


@pytest.mark.parametrize("name", MAPPED)
def test_outputs_are_those_of_transformers_5(name, load, export, run_graph):
    feeds, logits = expected(name)
    model = load(HuggingFace(), SAVED_BY_5 / name)
    assert np.abs(logits).max() > 0.5
    if model.task == "text-generation":
        feeds, logits = a_prompt(feeds, logits)
    np.testing.assert_allclose(model.original.run(feeds)["logits"], logits, atol=1e-4)
    exported = export(model)
    feeds |= {each: np.zeros((1, *spec.shape[1:2], 0, *spec.shape[3:]), np.float32) for each, spec in pasts(exported)}
    # The graph does not mask padding, so its outputs at padding mean as little as the original's.
    np.testing.assert_allclose(run_graph(exported, feeds)["logits"], logits, atol=1e-4)


def a_prompt(feeds, logits):
    """Return the inputs of the first row without its padding, and the scores of its last token."""
    real = np.flatnonzero(feeds["attention_mask"][0])
    ids = feeds["input_ids"][:1, real]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(len(real))[None]}
    return feeds, logits[:1, real[-1:]]


def pasts(model):
    """Return the names and specs of the inputs that are states."""
    return [(spec.name, spec) for spec in model.part.inputs if spec.name in model.part.reads]


@pytest.mark.parametrize("name", WITH_TEXT)
def test_tokens_are_those_of_transformers_5(name, load):
    from tokenizers import Tokenizer

    model = load(HuggingFace(), SAVED_BY_5 / name)
    tokenizer = Tokenizer.from_file(str(model.assets / "tokenizer.json"))
    with np.load(SAVED_BY_5 / name / "expected.npz") as file:
        rows = zip(file["texts"], file["in.input_ids"], file["in.attention_mask"], strict=True)
        for text, ids, mask in rows:
            assert tokenizer.encode(str(text)).ids == ids[mask == 1].tolist()


@pytest.mark.parametrize("name", ["gpt-neox", "llama", "llama3", "modernbert", "qwen2"])
def test_unmapped_settings_would_give_wrong_numbers(name, load, monkeypatch):
    """Without the mapping nothing fails and the numbers are wrong: so the equality above comes from it."""
    monkeypatch.setattr(transformers5, "adapt", lambda settings, where: dict(settings))
    feeds, logits = expected(name)
    model = load(HuggingFace(), SAVED_BY_5 / name)
    if model.task == "text-generation":
        feeds, logits = a_prompt(feeds, logits)
    unmapped = model.original.run(feeds)["logits"]
    assert np.abs(unmapped - logits).max() > 0.01


def test_unknown_scaling_is_refused(load):
    with raises(UsageError, "llama-proportional/config.json'", "'proportional'", "transformers 4.57") as caught:
        load(HuggingFace(), SAVED_BY_5 / "llama-proportional")
    assert "transformers 5" in caught.value.hint


def adapt(**settings):
    return transformers5.adapt(settings, "config.json")


def test_scalings_keep_their_settings():
    yarn = {"rope_type": "yarn", "rope_theta": 5.0, "factor": 4.0, "original_max_position_embeddings": 32}
    assert adapt(rope_parameters=yarn) == {
        "rope_theta": 5.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    }
    long = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0], "original_max_position_embeddings": 8}
    assert adapt(rope_parameters=long)["original_max_position_embeddings"] == 8


def test_nested_configurations_are_adapted():
    inner = {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}
    assert adapt(text_config=inner) == {"text_config": {"model_type": "llama", "rope_theta": 7.0}}


def test_sliding_layers_of_gemma_get_their_own_theta():
    by_layer = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    adapted = adapt(model_type="gemma3_text", rope_parameters=by_layer)
    assert (adapted["rope_theta"], adapted["rope_local_base_freq"]) == (1e6, 1e4)
    assert adapted["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}
    with raises(UsageError, "positions", "layer", "transformers 4.57"):
        adapt(model_type="llama", rope_parameters=by_layer)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "novelty": 1}}, "'novelty'"),
        ({"model_type": "gemma", "use_bidirectional_attention": True}, "'use_bidirectional_attention = True'"),
        (
            {"model_type": "modernbert", "layer_types": ["sliding_attention", "full_attention", "full_attention"]},
            "layer_types",
        ),
    ],
)
def test_what_4_cannot_compute_is_refused(settings, named):
    with raises(UsageError, named, "transformers 4.57"):
        adapt(**settings)
