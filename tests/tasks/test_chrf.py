"""chrF has the values of sacrebleu 2.6, which were computed once."""

from __future__ import annotations

import pytest

from edgekit.tasks.chrf import chrf

TEXTS = ["the cat sat on the mat", "a dog runs", "", "x", "two people, walking!"]
REFERENCES = ["the cat is sitting on the mat", "a dog is running fast", "nothing", "xyz", "two people walk."]


@pytest.mark.parametrize(
    ("texts", "references", "expected"),
    [
        (TEXTS, REFERENCES, 0.39870020153203894),
        (TEXTS[:1], REFERENCES[:1], 0.46950097468255064),
        (TEXTS[2:4], REFERENCES[2:4], 0.12195121951219515),
        (REFERENCES, REFERENCES, 1.0),
        (["abc"], ["xyz"], 0.0),
        ([""], [""], 0.0),
    ],
)
def test_the_values_are_those_of_sacrebleu(texts, references, expected):
    assert chrf(texts, references) == pytest.approx(expected, abs=1e-12)
