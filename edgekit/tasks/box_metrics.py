"""COCO's mean average precision of boxes, by faster-coco-eval: published scores are computed by the same rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit import _requirement
from edgekit.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    import numpy as np

    from edgekit.tasks.boxes import Detections

PACKAGE = "faster-coco-eval"

STATISTICS = {"map": 0, "map50": 1}
"""The places in COCO's summary: the mean over overlaps of 0.50 to 0.95, and at 0.50 alone."""


@dataclass(frozen=True)
class Truth:
    """The labelled boxes of a picture: corners [N,4] x, y, x, y in pixels, class numbers, and which are not counted."""

    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray


def require() -> None:
    """Raise EnvironmentFault where the package is missing."""
    if _requirement.installed(PACKAGE) is None:
        raise EnvironmentFault(
            f"mean average precision needs the package {PACKAGE}, which is not installed.",
            hint="pip install 'edgekit[metrics]'",
        )


def score(metric: str, detected: Sequence[Detections], truths: Sequence[Truth]) -> float:
    """Return the mean average precision over the classes that have labels, at most 100 boxes a picture.

    Raises UsageError where no picture has a box that counts.
    """
    require()
    from faster_coco_eval import COCO, COCOeval_faster

    if not any((~truth.ignored).any() for truth in truths):
        raise UsageError(
            f"mean average precision is undefined: none of {len(truths)} labelled samples has a box.",
            hint="give samples with boxes, or leave --metric out",
        )
    rows = _rows(detected)
    if not rows:
        return 0.0
    annotated = COCO(_dataset(detected, truths))
    evaluation = COCOeval_faster(annotated, annotated.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[STATISTICS[metric]])


def _dataset(detected: Sequence[Detections], truths: Sequence[Truth]) -> dict[str, Any]:
    """Return the labels as COCO's JSON has them."""
    annotations: list[dict[str, Any]] = []
    numbers = [*(boxes.classes for boxes in detected), *(truth.classes for truth in truths)]
    classes = {int(number) for each in numbers for number in each}
    for image, truth in enumerate(truths, 1):
        for box, number, ignored in zip(truth.boxes.tolist(), truth.classes, truth.ignored, strict=True):
            x, y, right, bottom = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(number) + 1,
                    "bbox": [x, y, right - x, bottom - y],
                    "area": (right - x) * (bottom - y),
                    "iscrowd": int(ignored),
                }
            )
    return {
        "images": [{"id": image} for image in range(1, len(truths) + 1)],
        "categories": [{"id": number + 1, "name": str(number)} for number in sorted(classes)],
        "annotations": annotations,
    }


def _rows(detected: Sequence[Detections]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "category_id": int(number) + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": float(score),
        }
        for image, boxes in enumerate(detected, 1)
        for box, score, number in zip(boxes.boxes.tolist(), boxes.scores, boxes.classes, strict=True)
    ]
