"""Metrics, in numpy alone: a device has no scikit-learn. Each is tested against scikit-learn or scipy.

Where a metric is undefined they raise UsageError: an invented number would decide the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np

    from edgekit.tasks.task import Prediction


@dataclass(frozen=True)
class Metric:
    """What a metric judges, and in which direction."""

    judges: Literal["classes", "numbers", "texts", "masks", "boxes"]
    lower_is_better: bool = False


KNOWN = {
    "accuracy": Metric("classes"),
    "f1": Metric("classes"),
    "f1-macro": Metric("classes"),
    "auc": Metric("classes"),
    "average-precision": Metric("classes"),
    "log-loss": Metric("classes", lower_is_better=True),
    "ece": Metric("classes", lower_is_better=True),
    "spearman": Metric("numbers"),
    "pearson": Metric("numbers"),
    "r2": Metric("numbers"),
    "mae": Metric("numbers", lower_is_better=True),
    "rmse": Metric("numbers", lower_is_better=True),
    "chrf": Metric("texts"),
    "bleu": Metric("texts"),
    "rouge": Metric("texts"),
    "wer": Metric("texts", lower_is_better=True),
    "cer": Metric("texts", lower_is_better=True),
    "exact-match": Metric("texts"),
    "miou": Metric("masks"),
    "dice": Metric("masks"),
    "pixel-accuracy": Metric("masks"),
    "map": Metric("boxes"),
    "map50": Metric("boxes"),
}
METRICS = tuple(KNOWN)
CLASS_METRICS = tuple(name for name, metric in KNOWN.items() if metric.judges == "classes")
NUMBER_METRICS = tuple(name for name, metric in KNOWN.items() if metric.judges == "numbers")
TEXT_METRICS = tuple(name for name, metric in KNOWN.items() if metric.judges == "texts")
BOX_METRICS = tuple(name for name, metric in KNOWN.items() if metric.judges == "boxes")
ALIASES = {
    "acc": "accuracy",
    "top1": "accuracy",
    "rocauc": "auc",
    "auroc": "auc",
    "ap": "average-precision",
    "prauc": "average-precision",
    "logloss": "log-loss",
    "crossentropy": "log-loss",
    "calibrationerror": "ece",
    "f1macro": "f1-macro",
    "macrof1": "f1-macro",
    "sacrebleu": "bleu",
    "rougel": "rouge",
    "worderrorrate": "wer",
    "charactererrorrate": "cer",
    "em": "exact-match",
    "meaniou": "miou",
    "iou": "miou",
    "jaccard": "miou",
    "map5095": "map",
    "meanaverageprecision": "map",
    "cocomap": "map",
    "ap50": "map50",
}
"""Names of metrics elsewhere."""


def loss(metric: str | None, original: float, score: float) -> float:
    """Return how much worse `score` is than the original's: positive is a loss, in whichever direction the metric
    improves. More of a function of the user's own is better.
    """
    known = KNOWN.get(metric or "")
    return score - original if known is not None and known.lower_is_better else original - score


def accuracy(values: Sequence[int], labels: Sequence[int]) -> float:
    """Return the share of values that equal their labels."""
    import numpy as np

    check_same_length(values, labels)
    return float(np.mean(np.asarray(values) == np.asarray(labels)))


def f1(values: Sequence[int], labels: Sequence[int], *, average: str = "binary", positive: int = 1) -> float:
    """Return F1 = 2 tp / (2 tp + fp + fn) of one class (`binary`), or its mean over the classes that occur (`macro`).

    Raises UsageError for `binary` where the class is neither among the labels nor predicted.
    """
    import numpy as np

    check_same_length(values, labels)
    predicted, actual = np.asarray(values), np.asarray(labels)
    classes = [positive] if average == "binary" else sorted(set(predicted.tolist()) | set(actual.tolist()))
    scores = []
    for number in classes:
        hits = int(np.sum((predicted == number) & (actual == number)))
        total = int(np.sum(predicted == number) + np.sum(actual == number))
        if total == 0:
            raise UsageError(
                f"F1 is undefined: no sample is labelled with class {positive} and none was predicted as it.",
                hint="give samples of both classes, or use --metric accuracy",
            )
        scores.append(2 * hits / total)
    return float(np.mean(scores))


def auc(scores: Sequence[float], labels: Sequence[int], *, positive: int = 1) -> float:
    """Return the area under the ROC curve of a class's scores: the Mann-Whitney statistic of the ranks, ties count
    half.

    Raises UsageError unless both classes, 0 and 1, are among the labels.
    """
    import numpy as np

    check_same_length(scores, labels)
    hits = np.asarray(labels) == positive
    count, others = int(hits.sum()), int((~hits).sum())
    if not count or not others:
        only = positive if count else 1 - positive
        raise UsageError(
            f"AUC is undefined: all {len(labels)} labelled samples are of class {only}.",
            hint="give samples of both classes, or use --metric accuracy",
        )
    ranks = _ranks(np.asarray(scores, dtype=np.float64))
    return float((ranks[hits].sum() - count * (count + 1) / 2) / (count * others))


def average_precision(scores: Sequence[float], labels: Sequence[int], *, positive: int = 1) -> float:
    """Return the sum over the thresholds of precision times the recall gained, equal scores together.

    Raises UsageError where no label is of the class.
    """
    import numpy as np

    check_same_length(scores, labels)
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    hits = (np.asarray(labels) == positive)[order]
    if not hits.any():
        raise UsageError(
            f"average precision is undefined: no sample is labelled with class {positive}.",
            hint="give samples of both classes, or use --metric accuracy",
        )
    last = np.append(np.diff(values[order]) != 0, True)
    true, count = np.cumsum(hits)[last], np.flatnonzero(last) + 1
    return float(np.sum(np.diff(true, prepend=0) / hits.sum() * (true / count)))


def log_loss(scores: Sequence[np.ndarray], labels: Sequence[int]) -> float:
    """Return the mean of -ln(probability of the label), in nats; a probability of 0 counts as 2.2e-16."""
    import numpy as np

    check_same_length(scores, labels)
    given = np.array([row[label] for row, label in zip(scores, labels, strict=True)], dtype=np.float64)
    return float(-np.log(np.clip(given, np.finfo(np.float64).eps, 1)).mean())


def calibration_error(scores: Sequence[np.ndarray], labels: Sequence[int], *, bins: int = 15) -> float:
    """Return the expected calibration error of the likeliest class over bins of equal width (Guo et al., 2017)."""
    import numpy as np

    check_same_length(scores, labels)
    rows = np.asarray(scores, dtype=np.float64)
    confidence, right = rows.max(1), rows.argmax(1) == np.asarray(labels)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(rows))


def r2(values: Sequence[float], labels: Sequence[float]) -> float:
    """Return 1 - (squared errors) / (squared deviations of the labels from their mean). Raises UsageError where the
    labels are all equal.
    """
    import numpy as np

    check_same_length(values, labels)
    x, y = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    total = float(((y - y.mean()) ** 2).sum())
    if total == 0:
        raise UsageError(f"R2 is undefined: the labels are all {y[0]:g}.", hint="give samples whose labels differ")
    return 1 - float(((x - y) ** 2).sum()) / total


def mae(values: Sequence[float], labels: Sequence[float]) -> float:
    """Return the mean absolute error, in the unit of the labels."""
    import numpy as np

    check_same_length(values, labels)
    return float(np.abs(np.asarray(values, dtype=np.float64) - np.asarray(labels, dtype=np.float64)).mean())


def rmse(values: Sequence[float], labels: Sequence[float]) -> float:
    """Return the root of the mean squared error, in the unit of the labels."""
    import numpy as np

    check_same_length(values, labels)
    return float(np.sqrt(((np.asarray(values, dtype=np.float64) - np.asarray(labels, dtype=np.float64)) ** 2).mean()))


def pearson(values: Sequence[float], labels: Sequence[float]) -> float:
    """Return the linear correlation. Raises UsageError where one side does not vary."""
    return _correlation(*_varying(values, labels))


def spearman(values: Sequence[float], labels: Sequence[float]) -> float:
    """Return the correlation of the ranks, equal values with their mean rank. Raises UsageError where one side does not
    vary.
    """
    x, y = _varying(values, labels)
    return _correlation(_ranks(x), _ranks(y))


_OF_NUMBERS = {"spearman": spearman, "pearson": pearson, "r2": r2, "mae": mae, "rmse": rmse}
_OF_PROBABILITIES = {"log-loss": log_loss, "ece": calibration_error}


def score(metric: str, predictions: Sequence[Prediction], labels: Sequence[Any], *, positive: int = 1) -> float:
    """Return the value of a metric, by its name; AUC and F1 are of the class `positive`.

    Raises UsageError where it is undefined for these predictions.
    """
    values = [prediction.value for prediction in predictions]
    if metric == "accuracy":
        return accuracy(values, labels)
    if metric in NUMBER_METRICS:
        if any(value is None for value in values):
            raise UsageError(
                f"{metric} needs one number a sample, and this model has none for some samples.",
                hint="similarity compares two texts: name both columns with --text-column A --text-column B",
            )
        return _OF_NUMBERS[metric](values, labels)
    counts = {len(prediction.scores) for prediction in predictions if prediction.scores is not None}
    if metric in _OF_PROBABILITIES:
        scored = [prediction.scores for prediction in predictions if prediction.scores is not None]
        return _OF_PROBABILITIES[metric](scored, labels)
    if metric in ("auc", "average-precision"):
        if counts != {2}:
            raise UsageError(
                f"{'AUC' if metric == 'auc' else metric} compares two classes, and the model has "
                f"{max(counts, default=0)}.",
                hint="use --metric accuracy or --metric f1-macro",
            )
        scores = [float(prediction.scores[positive]) for prediction in predictions if prediction.scores is not None]
        return (auc if metric == "auc" else average_precision)(scores, labels, positive=positive)
    average = "macro" if metric == "f1-macro" or max(counts, default=2) > 2 else "binary"
    return f1(values, labels, average=average, positive=positive)


def check_metric(metric: str, known: Sequence[str], task: str) -> str:
    """Return `metric` if the task can compute it. Raises UsageError otherwise."""
    if metric not in known:
        what = f"the task '{task}' has no metric '{metric}'" if metric in METRICS else f"unknown metric '{metric}'"
        raise UsageError(
            f"{what}.{nearest(metric, known, ALIASES)}", hint=f"metrics of {task}: {', '.join(known) or 'none'}"
        )
    return metric


def _varying(values: Sequence[float], labels: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    check_same_length(values, labels)
    x, y = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    for side, name in ((x, "the model's values"), (y, "the labels")):
        if np.all(side == side[0]):
            raise UsageError(
                f"a correlation is undefined: {name} are all {side[0]:g}.", hint="give samples whose labels differ"
            )
    return x, y


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    import numpy as np

    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1.0, 1.0))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks, counted from 1; equal values have the mean of their ranks."""
    import numpy as np

    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(((ends - counts + 1 + ends) / 2)[group], dtype=np.float64)


def check_same_length(values: Sequence[Any], labels: Sequence[Any]) -> None:
    """Raise UsageError where there is not one label for each value, or none at all."""
    if len(values) != len(labels):
        raise UsageError(
            f"there are {len(values)} predictions and {len(labels)} labels.", hint="give one label for each sample"
        )
    if not len(values):
        raise UsageError("a metric needs at least one labelled sample.", hint="give labelled data")
