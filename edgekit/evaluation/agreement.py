"""How many answers of a candidate are the original's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.tasks.task import Prediction

if TYPE_CHECKING:
    import numpy as np


def share(predictions: Sequence[Prediction], truths: Sequence[Prediction]) -> float | None:
    """Return the share of equal answers, each choice of a sample that needs several; None where there are none."""
    import numpy as np

    same = [_alike(a, b) for a, b in zip(predictions, truths, strict=True)]
    count = sum(len(each) for each in same)
    return sum(int(np.count_nonzero(each)) for each in same) / count if count else None


def equal_texts(answers: Sequence[Prediction], truths: Sequence[Prediction]) -> int | None:
    """Return of how many samples the generated text is the original's; None for a task that generates none."""
    same = [_same(a.value, b.value) for a, b in zip(answers, truths, strict=True) if b.choices is not None]
    return sum(same) if same else None


def _alike(a: Prediction, b: Prediction) -> Sequence[bool] | np.ndarray:
    """Return whether two predictions of a sample agree, in each choice where it needs several."""
    import numpy as np

    if b.several and np.shape(a.value) == np.shape(b.value):
        return np.asarray(np.equal(a.value, b.value)).reshape(-1)
    if a.choices is None or b.choices is None:
        return [_same(a.value, b.value)]
    return [ours == theirs for ours, theirs in zip(a.choices, b.choices, strict=True)]


def _same(a: Any, b: Any) -> bool:
    import numpy as np

    return bool(np.array_equal(a, b))
