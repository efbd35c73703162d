"""Metrics of masks, from the counts of pixels by their class and by the class they were given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

METRICS = ("miou", "dice", "pixel-accuracy")


def confusion(pairs: Iterable[tuple[np.ndarray, np.ndarray]], ignored: int) -> np.ndarray:
    """Return counts [actual, predicted] of the pixels of all masks, pairs of (predicted, actual); pixels whose actual
    class is `ignored` are left out.
    """
    import numpy as np

    counts = np.zeros((0, 0), np.int64)
    for predicted, actual in pairs:
        judged = actual != ignored
        ours, theirs = predicted[judged].astype(np.int64), actual[judged].astype(np.int64)
        size = max(len(counts), int(max(ours.max(initial=-1), theirs.max(initial=-1))) + 1)
        counts = np.pad(counts, (0, size - len(counts)))
        counts += np.bincount(theirs * size + ours, minlength=size * size).reshape(size, size)
    return counts


def score(metric: str, counts: np.ndarray) -> float:
    """Return a metric of the counts [actual, predicted].

    `miou` is the mean over the classes of intersection / union, `dice` of 2 intersection / (both areas), of two classes
    the second one's alone; classes that occur on neither side do not count. `pixel-accuracy` is the share of pixels
    with their class. Raises UsageError where no pixel is judged.
    """
    import numpy as np

    hits, actual, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    if not actual.sum():
        raise UsageError(f"{metric} is undefined: no pixel of the masks is judged.",
                         hint="give masks with the numbers of classes as levels")  # fmt: skip
    if metric == "pixel-accuracy":
        return float(hits.sum() / actual.sum())
    occurs = (actual + predicted) > 0
    if metric == "miou":
        return float(np.mean(hits[occurs] / (actual + predicted - hits)[occurs]))
    dice = 2 * hits[occurs] / (actual + predicted)[occurs]
    return float(dice[-1] if len(counts) == 2 and occurs[1] else dice.mean())
