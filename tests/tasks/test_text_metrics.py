"""Metrics of generated texts: error rates against jiwer, BLEU and ROUGE by their libraries, directions, and faults."""

from __future__ import annotations

import random

import pytest

from edgekit.errors import EnvironmentFault, UsageError
from edgekit.tasks import text_metrics
from edgekit.tasks.edit_distance import distance
from edgekit.tasks.metrics import KNOWN, METRICS, TEXT_METRICS, loss
from tests.wording import raises

SAID = ["the cat sat on mat", "a dog", "", " seven  eight nine ", "one two three four"]
WANTED = ["the cat sat on the mat", "a dog", "silence", "seven eight", "four three two one"]


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("", "", 0), ([1, 2, 3], [2, 3, 4], 2), ("ab", "ba", 2)],
)
def test_edit_distance(a, b, edits):
    assert distance(a, b) == distance(b, a) == edits


def test_error_rates_by_hand():
    # 1 of 6 words, 0 of 2, 1 of 1, 1 of 2, and a reversal whose least edits are 4 of 4
    assert text_metrics.score("wer", SAID, WANTED) == pytest.approx(7 / 15)
    assert text_metrics.score("wer", ["a b c"], ["d"]) == 3.0, "more words than are wanted"
    assert text_metrics.score("cer", ["abd", "x"], ["abc", "x"]) == pytest.approx(1 / 4)
    assert text_metrics.score("exact-match", SAID, WANTED) == pytest.approx(1 / 5)


@pytest.mark.needs("jiwer")
def test_error_rates_are_those_of_jiwer():
    import jiwer

    draw, words = random.Random(1), ["an", "one", "on", "son", "sun", "nun"]
    for _ in range(20):
        texts, references = ([" ".join(draw.choices(words, k=draw.randint(1, 7))) for _ in range(5)] for _ in range(2))
        assert text_metrics.score("wer", texts, references) == pytest.approx(jiwer.wer(references, texts))
        assert text_metrics.score("cer", texts, references) == pytest.approx(jiwer.cer(references, texts))
    assert text_metrics.score("wer", SAID, WANTED) == pytest.approx(jiwer.wer(WANTED, SAID))
    assert text_metrics.score("cer", SAID, WANTED) == pytest.approx(jiwer.cer(WANTED, SAID))


@pytest.mark.needs("sacrebleu")
def test_bleu_is_that_of_sacrebleu():
    import sacrebleu

    assert text_metrics.score("bleu", WANTED, WANTED) == pytest.approx(1)
    value = text_metrics.score("bleu", SAID, WANTED)
    assert 0 < value < 1 and value == pytest.approx(sacrebleu.corpus_bleu(SAID, [WANTED]).score / 100)


@pytest.mark.needs("rouge_score")
def test_rouge_is_the_longest_common_subsequence():
    # 5 of 5 words are 5 of 6: precision 1, recall 5/6
    assert text_metrics.score("rouge", SAID[:1], WANTED[:1]) == pytest.approx(10 / 11)
    assert text_metrics.score("rouge", SAID[:2], WANTED[:2]) == pytest.approx((10 / 11 + 1) / 2)


@pytest.mark.parametrize(("metric", "package"), [("bleu", "sacrebleu"), ("rouge", "rouge-score")])
def test_a_missing_package_is_named_with_its_install_line(metric, package, monkeypatch):
    monkeypatch.setattr("edgekit._requirement.installed", lambda name: None)
    with raises(EnvironmentFault, metric, package) as refused:
        text_metrics.score(metric, SAID, WANTED)
    assert "pip install 'edgekit[metrics]'" in refused.value.hint


def test_each_metric_has_a_direction():
    assert loss("bleu", 0.3, 0.2) == pytest.approx(0.1) and loss("chrf", 0.2, 0.3) == pytest.approx(-0.1)
    assert loss("wer", 0.2, 0.3) == pytest.approx(0.1) and loss("cer", 0.3, 0.2) == pytest.approx(-0.1)
    assert loss("mine:accuracy", 0.3, 0.2) == pytest.approx(0.1)
    errors = {"wer", "cer", "mae", "rmse", "log-loss", "ece"}
    assert {name for name in METRICS if KNOWN[name].lower_is_better} == errors
    assert set(TEXT_METRICS) == set(text_metrics.NAMES)


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_an_undefined_error_rate_is_refused(metric):
    with raises(UsageError, "error rate"):
        text_metrics.score(metric, ["a"], [" "])
    with raises(UsageError, "2", "1"):
        text_metrics.score(metric, ["a", "b"], ["a"])
