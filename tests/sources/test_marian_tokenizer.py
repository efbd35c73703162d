"""The two files that stand for a Marian tokenizer give the ids and the texts of transformers' own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.errors import UnsupportedError, UsageError
from edgekit.sources import marian_tokenizer
from edgekit.spec import TensorSpec
from edgekit.tasks.text import Texts, read_tokenizer
from tests.wording import raises

FILES = Path(__file__).parent.parent / "fixtures" / "marian"
EXPECTED = json.loads((FILES / "expected.json").read_text())
INPUTS = [TensorSpec(name, "i64", ("batch", "length")) for name in ("input_ids", "attention_mask")]
CONFIG = SimpleNamespace(pad_token_id=160, max_position_embeddings=64, model_type="marian")


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    return folder, Texts(marian_tokenizer.write(FILES, folder, CONFIG), folder, INPUTS)


@pytest.mark.parametrize(("text", "ids"), list(zip(EXPECTED["texts"], EXPECTED["ids"], strict=True)))
def test_a_text_has_the_ids_of_transformers(assets, text, ids):
    assert assets[1].encode((text,))["input_ids"][0].tolist() == ids


def test_ids_have_the_text_of_transformers(assets):
    tokenizer = read_tokenizer(assets[0] / marian_tokenizer.VOCABULARY)
    decoded = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in EXPECTED["drawn"]]
    assert decoded == EXPECTED["decoded"]


def test_a_long_text_is_cut_as_its_tokenizer_says(assets):
    encoded = assets[1].encode((" hund" * 100,))["input_ids"][0]
    assert len(encoded) == 32 and encoded[-1] == 0


@pytest.fixture
def damaged(tmp_path):
    return Path(shutil.copytree(FILES, tmp_path / "files"))


def test_a_broken_model_of_pieces_is_named(damaged, tmp_path):
    (damaged / "source.spm").write_bytes(b"\xff\xff\xff")
    with raises(UsageError, "source.spm", "SentencePiece"):
        marian_tokenizer.write(damaged, tmp_path / "assets", CONFIG)


def test_a_vocabulary_without_an_end_is_named(damaged, tmp_path):
    (damaged / "vocab.json").write_text('{"a": 0}')
    with raises(UsageError, "vocab.json", "</s>"):
        marian_tokenizer.write(damaged, tmp_path / "assets", CONFIG)


def test_separate_vocabularies_are_refused(damaged, tmp_path):
    (damaged / "target_vocab.json").write_text("{}")
    with raises(UnsupportedError, "vocabulary for each language"):
        marian_tokenizer.write(damaged, tmp_path / "assets", CONFIG)
