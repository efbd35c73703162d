"""Metrics compared with scikit-learn and scipy, on the predictions of models trained here on real data."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.tasks import Prediction, metrics
from tests.wording import raises


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    from sklearn import metrics

    return metrics


@pytest.fixture(scope="module")
def binary():
    """Return real labels, predictions and scores of two classes."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    data, target = load_breast_cancer(return_X_y=True)
    model = LogisticRegression(max_iter=20000, C=1e-4).fit(data[:200], target[:200])
    scores = model.predict_proba(data[200:])
    return target[200:], scores.argmax(1), scores


@pytest.fixture(scope="module")
def digits():
    """Return real labels and predictions of ten classes; few training samples, so that there are errors."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    data, target = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=5000).fit(data[:60] / 16, target[:60])
    return target[60:], model.predict(data[60:] / 16)


def test_accuracy(binary, digits, reference):
    for labels, values, *_ in (binary, digits):
        assert metrics.accuracy(values, labels) == reference.accuracy_score(labels, values)


def test_f1(binary, digits, reference):
    labels, values, _ = binary
    assert metrics.f1(values, labels) == pytest.approx(reference.f1_score(labels, values), abs=1e-15)
    labels, values = digits
    expected = reference.f1_score(labels, values, average="macro")
    assert metrics.f1(values, labels, average="macro") == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("digits_kept", [17, 2, 1])
def test_auc_with_and_without_ties(binary, digits_kept, reference):
    labels, _, scores = binary
    rounded = np.round(scores[:, 1], digits_kept)
    assert metrics.auc(rounded, labels) == pytest.approx(reference.roc_auc_score(labels, rounded), abs=1e-12)


def test_auc_on_credit_data(assets, reference):
    path = assets / "data-uci-credit" / "UCI_Credit_Card.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1)[:8000]
    labels = table[:, -1].astype(int)
    score = table[:, 6]  # X6, the last repayment status: eleven values, so nearly everything is tied
    assert len(np.unique(score)) == 11
    assert metrics.auc(score, labels) == pytest.approx(reference.roc_auc_score(labels, score), abs=1e-12)


def test_spearman_and_pearson(assets):
    import csv

    from scipy import stats

    with (assets / "data-stsb" / "stsb-en-test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    labels = [float(row[2]) for row in rows]
    overlap = [len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split())) for a, b, _ in rows]
    assert len(set(overlap)) < len(overlap)
    assert metrics.spearman(overlap, labels) == pytest.approx(stats.spearmanr(overlap, labels)[0], abs=1e-12)
    assert metrics.pearson(overlap, labels) == pytest.approx(stats.pearsonr(overlap, labels)[0], abs=1e-12)


def test_undefined_cases_are_errors(binary):
    _, _, scores = binary
    with raises(UsageError, "AUC", ("5", "class 0"), hint="--metric accuracy"):
        metrics.auc(scores[:5, 1], [0] * 5)
    with raises(UsageError, "AUC", "class 1", hint="--metric accuracy"):
        metrics.auc(scores[:5, 1], [1] * 5)
    with raises(UsageError, "F1", "class 1", hint="--metric accuracy"):
        metrics.f1([0, 0], [0, 0])
    with raises(UsageError, "correlation", "labels", "2"):
        metrics.spearman([0.1, 0.2], [2, 2])
    with raises(UsageError, "correlation", "values", "0.5"):
        metrics.pearson([0.5, 0.5], [1, 2])
    with raises(UsageError, "one labelled sample"):
        metrics.accuracy([], [])
    with raises(UsageError, "2 predictions", "1"):
        metrics.accuracy([1, 2], [1])


def test_scoring_by_name(binary, digits, reference):
    labels, values, scores = binary
    predictions = [Prediction(int(value), row) for value, row in zip(values, scores, strict=True)]
    assert metrics.score("auc", predictions, labels) == pytest.approx(reference.roc_auc_score(labels, scores[:, 1]))
    assert metrics.score("f1", predictions, labels) == pytest.approx(reference.f1_score(labels, values))
    macro = reference.f1_score(labels, values, average="macro")
    assert metrics.score("f1-macro", predictions, labels) == pytest.approx(macro)
    three = [Prediction(0, np.array([0.6, 0.2, 0.2]))]
    with raises(UsageError, "AUC", "3", hint="--metric accuracy"):
        metrics.score("auc", three, [0])
    with raises(UsageError, "spearman", hint="--text-column"):
        metrics.score("spearman", [Prediction(None)], [1.0])


@pytest.mark.parametrize("decimals", [17, 2, 1])
def test_metrics_of_probabilities(binary, decimals, reference):
    labels, _, scores = binary
    rounded = scores.round(decimals)
    expected = reference.average_precision_score(labels, rounded[:, 1])
    assert metrics.average_precision(rounded[:, 1], labels) == pytest.approx(expected, abs=1e-12)
    assert metrics.log_loss(scores, labels) == pytest.approx(reference.log_loss(labels, scores), abs=1e-12)


def test_calibration_error_of_two_bins():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    assert metrics.calibration_error(scores, [0, 1, 1, 1]) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)


def test_metrics_of_numbers(reference):
    labels = np.array([1.0, 2.0, 4.0, 8.0])
    values = np.array([1.5, 2.0, 3.0, 9.0])
    assert metrics.r2(values, labels) == pytest.approx(reference.r2_score(labels, values))
    assert metrics.mae(values, labels) == pytest.approx(reference.mean_absolute_error(labels, values))
    assert metrics.rmse(values, labels) == pytest.approx(reference.mean_squared_error(labels, values) ** 0.5)
    with raises(UsageError, "R2", hint="differ"):
        metrics.r2(values, [1.0, 1.0, 1.0, 1.0])
