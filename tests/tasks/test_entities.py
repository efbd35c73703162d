"""Entities of tags, and their F1: values counted by hand, and the rules of conlleval."""

from __future__ import annotations

import random

import pytest

from edgekit.errors import UsageError
from edgekit.tasks.entities import entities, entity_f1, has_scheme
from tests.wording import raises


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-A I-A O B-B", [("A", 1, 3), ("B", 4, 5)]),
        ("B-A B-A I-A", [("A", 0, 1), ("A", 1, 3)]),
        ("I-A I-A I-B", [("A", 0, 2), ("B", 2, 3)]),  # IOB1: an I that continues nothing begins
        ("B-A I-B I-B", [("A", 0, 1), ("B", 1, 3)]),
        ("S-A B-A I-A E-A I-A", [("A", 0, 1), ("A", 1, 4), ("A", 4, 5)]),
        ("U-A B-A L-A", [("A", 0, 1), ("A", 1, 3)]),
        ("B-first-name I-first-name", [("first-name", 0, 2)]),
        ("NOUN NOUN O VERB", [("NOUN", 0, 2), ("VERB", 3, 4)]),
        ("O O", []),
    ],
)
def test_entities_of_a_sentence(tags, expected):
    assert entities(tags.split()) == expected


def test_f1_counts_whole_entities():
    actual = [["B-A", "I-A", "O", "B-B"], ["O", "B-A"]]
    # One is right, one has a wrong end, one is missing, one is invented: 2 * 1 / (3 + 3).
    predicted = [["B-A", "O", "O", "B-B"], ["B-B", "O"]]
    assert entity_f1(predicted, actual) == pytest.approx(2 / 6)
    assert entity_f1(actual, actual) == 1.0
    assert entity_f1([["O"] * 4, ["O"] * 2], actual) == 0.0
    with raises(UsageError, "F1", hint="accuracy"):
        entity_f1([["B-A"]], [["O"]])


def test_every_sequence_is_covered_once_by_its_entities():
    draw = random.Random(0)
    tags = [f"{letter}-{kind}" for letter in "BIES" for kind in "XY"] + ["O"]
    for _ in range(500):
        sentence = [draw.choice(tags) for _ in range(draw.randrange(1, 9))]
        covered = [place for _, start, end in entities(sentence) for place in range(start, end)]
        assert covered == [place for place, tag in enumerate(sentence) if tag != "O"]
        for kind, start, end in entities(sentence):
            assert {tag[2:] for tag in sentence[start:end]} == {kind}
            assert all(tag[0] not in "BS" for tag in sentence[start + 1 : end])


def test_labels_show_whether_they_are_tags():
    assert has_scheme(("O", "B-PER", "I-PER")) and not has_scheme(("NOUN", "VERB"))
