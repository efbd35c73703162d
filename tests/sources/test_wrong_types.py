"""Values of a wrong type or size in a checkpoint's files are refused by an error that names the file."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.model import Reference
from edgekit.sources import checkpoint, generation
from edgekit.sources.hf import HuggingFace
from edgekit.tasks.config import Generation
from tests.wording import raises

BERT = Path(__file__).parent.parent / "fixtures" / "transformers5" / "bert"

ODD = (None, [], {}, [1, "a", None], {"a": 1}, 2**80, -3, float("nan"), float("inf"), "y", True, [[[]]])


@pytest.fixture(scope="module")
def translator():
    """Return a translator of no sense, as small as they come."""
    from edgekit.sources.lean_transformers import import_transformers

    import_transformers()
    from transformers import MarianConfig, MarianMTModel

    one_layer = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1}
    sizes = {"vocab_size": 20, "d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": 1, "decoder_start_token_id": 0}
    module = MarianMTModel(MarianConfig(**one_layer, **sizes, **ends))
    module.config._name_or_path = "translator"
    return module


def copy(to, name, **changes):
    folder = Path(shutil.copytree(BERT, to))
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(settings | changes))
    return folder


def test_every_setting_of_a_generation_is_checked(translator):
    names = sorted(generation._FOLLOWED - {"min_length", "min_new_tokens"})
    refused = set()
    for name in names:
        for value in ODD:
            before = getattr(translator.generation_config, name)
            setattr(translator.generation_config, name, value)
            try:
                settings = generation.of_decoder(translator)
                plain = json.loads(json.dumps(settings.to_dict()))
                assert Generation.from_dict(plain).to_dict() == plain
            except UsageError as error:
                assert "generation_config.json" in f"{error.message} {error.hint}", (name, value)
                refused.add(name)
            finally:
                setattr(translator.generation_config, name, before)
    assert refused >= {"num_beams", "temperature", "top_k", "length_penalty", "bad_words_ids", "forced_eos_token_id"}


def test_tokens_that_are_never_drawn_have_no_effect(translator):
    translator.generation_config.suppress_tokens = [-1, 5, 20]
    try:
        assert generation.of_decoder(translator).suppressed == (5,)
    finally:
        translator.generation_config.suppress_tokens = None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": []}, "does not accept"),
        ({"num_labels": 2**80}, "num_labels"),
        ({"depths": [2, 10**9]}, "depths"),
        ({"text_config": {"num_hidden_layers": 10**9}}, "num_hidden_layers"),
    ],
)
def test_values_of_a_config(tmp_path, changes, words):
    folder = copy(tmp_path / "bert", "config.json", **changes)
    with raises(UsageError, words, "config.json'"):
        HuggingFace().load(Reference(ref=str(folder)), tmp_path)


def test_the_number_of_a_token_has_a_limit(tmp_path):
    tokens = json.loads((BERT / "tokenizer.json").read_text())
    tokens["model"]["vocab"]["[PAD]"] = 1 << 31
    folder = copy(tmp_path / "bert", "tokenizer.json", model=tokens["model"])
    with raises(UsageError, "tokenizer.json'", "2147483648", "10,000,000"):
        HuggingFace().load(Reference(ref=str(folder)), tmp_path)
    for number in (None, "1", 1.5, True, -1):
        with contextlib.suppress(UsageError):
            checkpoint.check_tokens({"a": number}, tmp_path / "vocab.json")
            pytest.fail(f"{number!r} is accepted")
