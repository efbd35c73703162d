"""Doubts about a score that no comparison with the original shows: a model that is worse than a guess loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

ORDER = "the labels may be in another order than the model's classes (--labels A,B,C"


def doubts(
    metric: str | None, score: float | None, labels: Sequence[Any], whose: str = "the original"
) -> tuple[str, ...]:
    """Return, in words, that a score is below what an answer without any model reaches; empty where it is not.

    `labels` are the classes or the numbers that the score was computed with.
    """
    if score is None:
        return ()
    if metric == "auc" and score < 0.5:
        return (
            f"WARNING: auc {score:.4f} of {whose} is below 0.5, a guess, and {1 - score:.4f} with the two classes the "
            f"other way round: {ORDER}, or --positive-class)",
        )
    if metric == "accuracy" and score < (share := _commonest(labels)) < 1:
        return (
            f"WARNING: accuracy {score:.4f} of {whose} is below {share:.4f}, which answering the commonest class alone "
            f"reaches: {ORDER}), or the inputs are prepared in another way",
        )
    if metric in ("wer", "cer") and score >= 1:
        return (
            f"WARNING: {metric} {score:.4f} of {whose} is not below 1, which answering nothing reaches: the labels may "
            "not be the texts that it generates",
        )
    if metric in ("spearman", "pearson") and score < 0:
        return (f"WARNING: {metric} {score:.4f} of {whose} is negative: its values fall where the labels rise",)
    return ()


def _commonest(labels: Sequence[Any]) -> float:
    """Return the share of the commonest label; those of a sentence's words count one by one."""
    single = [each for label in labels for each in (label if isinstance(label, tuple) else (label,))]
    return Counter(single).most_common(1)[0][1] / len(single)
