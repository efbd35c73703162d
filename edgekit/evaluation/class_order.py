"""The order of classes whose names are numbers, where only the original's own answers show it.

Folders 0 to 11 are 0, 1, 10, 11, 2, ... in the order in which torchvision numbers them, and 0, 1, 2, ... for everyone
else; classes from 1 to n are the indexes 0 to n-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgekit import tasks
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.reference_outputs import ReferenceOutputs
from edgekit.model import Model
from edgekit.tasks.classification import Classification
from edgekit.tasks.labels import is_whole
from edgekit.tasks.metrics import accuracy


def ordered(evaluation: Evaluation, reference: ReferenceOutputs, model: Model) -> Evaluation:
    """Return the evaluation with the order of classes that fits the original's answers best, and a note where there
    was a choice.
    """
    task, samples = evaluation.task, evaluation.samples
    if not isinstance(task, Classification) or not samples.labels:
        return evaluation
    named = not task.classes.unnamed
    if named and not task.classes.numbered(samples.classes):
        return evaluation
    labels = [label for label in samples.classes if not isinstance(label, str) or is_whole(label)]
    if not labels or len(labels) < len(samples.classes):
        return evaluation
    known = [index for index, label in enumerate(samples.labels) if label is not None]
    predictions = [task.predict(reference.outputs(index), samples[index]) for index in known]
    count = len(predictions[0].scores) if predictions and predictions[0].scores is not None else 0
    texts = [_text(label) for label in labels]
    orders = _orders(texts, count, from_text=isinstance(labels[0], str))
    if len(orders) < 2 and not (orders and "by index" not in orders):
        return evaluation
    answers = [prediction.value for prediction in predictions]
    truths = [_text(samples.labels[index]) for index in known]
    scores = {name: accuracy(answers, [places[text] for text in truths]) for name, places in orders.items()}
    best = max(scores, key=lambda name: scores[name])  # of equal ones the first, which is by index where it is possible
    others = ", ".join(f"{score:.4f} {name}" for name, score in scores.items() if name != best)
    note = f"the labels are numbers, and were read {best}: the original's accuracy is {scores[best]:.4f} so" + (
        f", and {others}" if others else ""
    )
    if best == "by index":
        return replace(evaluation, notes=(*evaluation.notes, note)) if scores[best] else evaluation
    names = tuple(sorted(orders[best], key=lambda text: orders[best][text]))
    config = replace(task.config, order=names) if named else replace(task.config, labels=names, numbers="names")
    return evaluation.with_task(tasks.load(config, model.assets, model.part.inputs), note)


def _text(label: Any) -> str:
    return label.strip() if isinstance(label, str) else str(int(label))


def _orders(texts: Sequence[str], count: int, *, from_text: bool) -> dict[str, dict[str, int]]:
    """Return the index of each class by its name, for each way to read them that fits `count` classes."""
    orders: dict[str, dict[str, int]] = {}
    if all(int(text) < count for text in texts):
        orders["by index"] = {text: int(text) for text in texts}
    if len(texts) == count and (from_text or sorted(map(int, texts)) == list(range(1, count + 1))):
        by_number = sorted(texts, key=int)
        orders["in the order of numbers"] = {text: index for index, text in enumerate(by_number)}
        if from_text:
            lexical = {text: index for index, text in enumerate(sorted(texts))}
            orders["in lexical order (0, 1, 10, 11, 2), as torchvision sorts folders"] = lexical
    distinct: dict[str, dict[str, int]] = {}
    for name, order in orders.items():
        if order not in distinct.values():
            distinct[name] = order
    return distinct
