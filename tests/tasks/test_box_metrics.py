"""Mean average precision against a second, plain computation of COCO's rules, and where it is undefined."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edgekit.errors import EnvironmentFault, UsageError
from edgekit.tasks import metrics
from edgekit.tasks.box_metrics import Truth, score
from edgekit.tasks.boxes import Detections
from tests.wording import raises


def truth(boxes, classes, ignored=None):
    corners = np.array(boxes, float).reshape(-1, 4)
    return Truth(corners, np.array(classes, int), np.array(ignored or [False] * len(classes), bool))


def detections(boxes, scores, classes):
    return Detections(np.array(boxes, float).reshape(-1, 4), np.array(scores, float), np.array(classes, int))


def of_chance(seed):
    """Return pictures with boxes, and detections that miss some and add others."""
    draw = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(6):
        corners = draw.uniform(0, 80, (5, 2))
        boxes = np.concatenate([corners, corners + draw.uniform(5, 40, (5, 2))], axis=1)
        classes = draw.integers(0, 3, 5)
        truths.append(truth(boxes, classes))
        moved = np.concatenate(
            [boxes[1:] + draw.normal(0, 1.5, (4, 4)), draw.uniform(0, 40, (3, 4)) + np.array([0, 0, 40, 40])]
        )
        found.append(detections(moved, draw.uniform(0, 1, 7), [*classes[1:], *draw.integers(0, 3, 3)]))
    return found, truths


def plain(found, truths, overlaps):
    """Return the mean over classes and overlaps of precision at 101 recalls, detection by detection."""
    values = []
    for number in sorted({int(each) for truth in truths for each in truth.classes}):
        total = sum(int((truth.classes == number).sum()) for truth in truths)
        ranked = sorted(
            (-float(score), image, box)
            for image, each in enumerate(found)
            for box, score, kind in zip(each.boxes.tolist(), each.scores, each.classes, strict=True)
            if kind == number
        )
        for least in overlaps:
            taken, hits = set(), []
            for _, image, box in ranked:
                rivals = [
                    (share, place)
                    for place, (other, kind) in enumerate(
                        zip(truths[image].boxes.tolist(), truths[image].classes, strict=True)
                    )
                    if kind == number and (image, place) not in taken and (share := iou(box, other)) >= least
                ]
                hits.append(bool(rivals))
                if rivals:
                    taken.add((image, max(rivals)[1]))
            right = np.cumsum(hits)
            precision = right / np.arange(1, len(hits) + 1)
            recall = right / total
            values.append(np.mean([max(precision[recall >= r], default=0) for r in np.linspace(0, 1, 101)]))
    return float(np.mean(values))


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("seed", range(4))
def test_the_score_is_that_of_a_second_computation(seed):
    found, truths = of_chance(seed)
    assert score("map50", found, truths) == pytest.approx(plain(found, truths, [0.5]), abs=1e-9)
    assert score("map", found, truths) == pytest.approx(plain(found, truths, np.arange(0.5, 1, 0.05)), abs=1e-9)


def test_the_same_boxes_score_one_and_none_score_zero(capsys):
    _, truths = of_chance(0)
    same = [detections(each.boxes, [0.9] * len(each.classes), each.classes) for each in truths]
    none = [detections([], [], []) for _ in truths]
    assert score("map", same, truths) == pytest.approx(1) and score("map", none, truths) == 0
    assert capsys.readouterr().out == ""


def test_ignored_boxes_do_not_count():
    truths = [truth([[0, 0, 10, 10], [50, 50, 70, 70]], [0, 0], [False, True])]
    found = [detections([[50, 50, 70, 70], [0, 0, 10, 10]], [0.9, 0.8], [0, 0])]
    assert score("map", found, truths) == pytest.approx(1)
    with raises(UsageError, "undefined", "1"):
        score("map", found, [truth([[0, 0, 10, 10]], [0], [True])])


def test_the_package_is_named(monkeypatch):
    monkeypatch.setattr("edgekit._requirement.installed", lambda name: None)
    monkeypatch.delitem(sys.modules, "faster_coco_eval", raising=False)
    with raises(EnvironmentFault, "faster-coco-eval", hint="edgekit[metrics]"):
        score("map", [], [])


def test_names():
    with raises(UsageError, "'map95'", hint="map50"):
        metrics.check_metric("map95", metrics.BOX_METRICS, "object-detection")
