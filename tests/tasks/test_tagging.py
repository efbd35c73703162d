"""Token classification: classes of words, entities in a text, labels and metrics."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.data import Sample
from edgekit.errors import UsageError
from edgekit.tasks import TaskConfig, TextConfig, load
from tests.tasks.test_text import BERT, minilm, tokenizer  # noqa: F401
from tests.wording import raises

LABELS = ("O", "B-LOC", "I-LOC", "B-PER")
WORDS = ["Unaffable", "Paris", ",", "New", "Yorkshire", "naïve"]


def tagging(folder, labels=LABELS, metric=None, **text):
    return load(TaskConfig("token-classification", labels=labels, metric=metric, text=TextConfig(**text)), folder, BERT)


def logits_of(tokenizer, words, classes, count=4):  # noqa: F811
    """Return logits by transformers' own alignment: the class of a word at its first token, class 3 at the others."""
    ids = tokenizer(words, is_split_into_words=True).word_ids()
    logits = np.zeros((1, len(ids), count), np.float32)
    for place, word in enumerate(ids):
        first = word is not None and word != ids[place - 1]
        logits[0, place, classes[word] if first else 3] = 4
    return logits


def test_a_word_has_the_class_of_its_first_token(minilm, tokenizer):  # noqa: F811
    task = tagging(minilm)
    classes = (0, 1, 0, 1, 2, 0)
    outputs = [{"logits": logits_of(tokenizer, WORDS, classes)}]
    sample = Sample({"tokens": WORDS}, ["O", "B-LOC", "O", "B-LOC", "I-LOC", "O"])
    assert task.feeds(sample)[0]["input_ids"].tolist()[0] == tokenizer(WORDS, is_split_into_words=True)["input_ids"]
    prediction = task.predict(outputs, sample)
    assert prediction.value == classes and prediction.several
    assert task.metric == "f1" and task.score([prediction], [task.label(sample.label)]) == 1.0
    assert task.score([prediction], [task.label(["B-LOC", "B-LOC", "O", "O", "O", "O"])]) == 2 * 1 / (2 + 2)


def test_words_after_the_cut_have_no_entity(minilm, tokenizer):  # noqa: F811
    task = tagging(minilm, max_length=6)
    sample = Sample({"tokens": WORDS})
    length = task.feeds(sample)[0]["input_ids"].shape[1]
    outputs = [{"logits": np.full((1, length, 4), 1.0, np.float32) * np.array([0, 9, 0, 0], np.float32)}]
    values = task.predict(outputs, sample).value
    assert len(values) == len(WORDS) and values[0] == 1 and values[-1] == 0


def test_entities_have_their_place_in_the_text(minilm, tokenizer):  # noqa: F811
    task = tagging(minilm)
    text = "Unaffable Paris, New Yorkshire."
    ids = tokenizer(text)
    logits = np.zeros((1, len(ids["input_ids"]), 4), np.float32)
    logits[0, :, 0] = 1
    for word, label in (("Paris", 1), ("New", 1), ("Yorkshire", 2)):
        logits[0, ids.char_to_token(text.index(word)), label] = 5
    found = task.answer([{"logits": logits}], Sample({"text": text}))["entities"]
    assert [(each["label"], each["text"], each["start"], each["end"]) for each in found] == [
        ("LOC", "Paris", 10, 15),
        ("LOC", "New Yorkshire", 17, 30),
    ]
    powers = np.exp(logits[0, ids.char_to_token(text.index("Paris"))])
    assert found[0]["score"] == pytest.approx(powers.max() / powers.sum())
    value = task.predict([{"logits": logits}], Sample({"text": text})).value
    assert len(value) == len(["Unaffable", "Paris", ",", "New", "Yorkshire", "."])
    assert task.answer([{"logits": logits}])["labels"][0] == "O"


def test_labels_without_a_scheme_are_scored_word_by_word(minilm, tokenizer):  # noqa: F811
    task = tagging(minilm, labels=("NOUN", "VERB", "X", "Y"))
    outputs = [{"logits": logits_of(tokenizer, WORDS, (0, 1, 0, 1, 1, 0))}]
    sample = Sample({"tokens": WORDS})
    assert task.metric == "accuracy"
    assert task.score([task.predict(outputs, sample)], [task.label([0, 1, 0, 0, -100, 0])]) == 4 / 5


def test_faults_are_named(minilm, tokenizer):  # noqa: F811
    task = tagging(minilm)
    with raises(UsageError, "'B-ORG'", hint="B-LOC"):
        task.label(["O", "B-ORG"])
    with raises(UsageError, "'B-LOC'", hint="tokens"):
        task.label("B-LOC")
    outputs = [{"logits": logits_of(tokenizer, WORDS, (0,) * 6)}]
    with raises(UsageError, ("6 words", "2 tags"), hint="tokens"):
        task.score([task.predict(outputs, Sample({"tokens": WORDS}))], [(0, 1)])
    with raises(UsageError, "'auc'", hint="f1"):
        tagging(minilm, metric="auc")
