"""From a detector's outputs to boxes: decoding, the choice of classes, suppression of boxes that overlap.

Everything is float32, as in the frameworks that the networks come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.tasks import box_grid
from edgekit.tasks.detection_config import GRIDS, DetectionConfig

if TYPE_CHECKING:
    import numpy as np

MOST_COMPARED = 30_000
"""Of so many boxes, those of the highest scores, overlaps are computed; ultralytics' `max_nms`."""

DESCRIBE = "describe the outputs in a file: --processor detector.toml (docs/detection.md)"


@dataclass(frozen=True)
class Candidates:
    """What a network proposes: boxes [N,4] as corners x, y, x, y; and scores, [N,classes], or [N] with `classes`."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray | None = None


@dataclass(frozen=True)
class Detections:
    """The boxes of one picture, by falling score: corners x, y, x, y, scores and class numbers."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def candidates(
    outputs: Mapping[str, np.ndarray],
    config: DetectionConfig,
    size: tuple[int, int] | None,
    priors: np.ndarray | None = None,
) -> Candidates:
    """Return what the outputs of one picture propose, in the units of the network; `size` is (height, width) of the
    input.

    Raises UsageError for outputs that are not as described.
    """
    import numpy as np

    heads = [_rows(_output(outputs, name), config) for name in config.outputs or (next(iter(outputs)),)]
    rows = np.concatenate(heads)
    parts = _split(rows, config)
    boxes = parts["box"]
    if config.encoding in GRIDS:
        if size is None:
            raise UsageError("boxes on a grid need the size of the input.", hint="name it: [image] size = [640, 640]")
        boxes = box_grid.decode(boxes, config, size)
    elif config.encoding == "priors":
        known = outputs[str(config.priors)] if priors is None else priors
        boxes = box_grid.from_priors(boxes, np.asarray(known, np.float32).reshape(-1, 4), config)
    boxes = _corners(boxes, config)
    scores = parts.get("scores", parts.get("score"))
    if config.scores is not None:
        scores = _activated(_second(_output(outputs, config.scores), len(boxes)), config)
    if scores is None:
        raise UsageError("the description names no scores: neither an output nor a value of each row.", hint=DESCRIBE)
    chosen = parts.get("class")
    if config.classes is not None:
        chosen = _second(_output(outputs, config.classes), len(boxes))
    elif scores.shape[1] == 1 and "score" in parts:
        chosen = np.zeros(len(boxes)) if chosen is None else chosen
    if "objectness" in parts:
        first, second = config.powers
        scores = parts["objectness"] ** np.float32(first) * scores ** np.float32(second)
    if config.count is not None:
        count = int(np.asarray(_output(outputs, config.count)).reshape(-1)[0])
        boxes, scores, chosen = boxes[:count], scores[:count], None if chosen is None else chosen[:count]
    if chosen is not None:
        return Candidates(boxes, scores.reshape(len(boxes)), np.rint(chosen).astype(np.int64).reshape(len(boxes)))
    return Candidates(boxes, scores)


def chosen(proposed: Candidates, config: DetectionConfig, least: float, *, pairs: bool) -> Detections:
    """Return the candidates whose score is above `least`: each of its best class, or a box for each such class."""
    import numpy as np

    if proposed.classes is not None:
        scores, rows, classes = proposed.scores, np.arange(len(proposed.scores)), proposed.classes
    elif pairs:
        rows, classes = (axis.reshape(-1) for axis in np.indices(proposed.scores.shape))
        scores = proposed.scores.reshape(-1)
    else:
        rows, classes = np.arange(len(proposed.scores)), proposed.scores.argmax(axis=1)
        scores = proposed.scores.max(axis=1, initial=0.0)
    kept = np.flatnonzero(scores > least)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    boxes = proposed.boxes[rows[kept]]
    if config.overlap is None:
        kept, boxes = kept[: config.most], boxes[: config.most]
    else:
        kept, boxes = kept[:MOST_COMPARED], boxes[:MOST_COMPARED]
        groups = np.zeros(len(kept), np.int64) if config.across else classes[kept]
        places = suppressed(boxes, groups, config.overlap, config.most)
        kept, boxes = kept[places], boxes[places]
    return Detections(boxes, scores[kept], classes[kept])


def suppressed(boxes: np.ndarray, groups: np.ndarray, overlap: float, most: int) -> np.ndarray:
    """Return the places of the boxes that stay, at most `most`: in order, each that no earlier one of its group that
    stays covers by more than `overlap`.
    """
    import numpy as np

    areas = _areas(boxes)
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        first, rest = left[0], left[1:]
        kept.append(int(first))
        same = groups[rest] == groups[first]
        corner = np.maximum(boxes[rest, :2], boxes[first, :2])
        sides = (np.minimum(boxes[rest, 2:], boxes[first, 2:]) - corner).clip(0)
        shared = sides[:, 0] * sides[:, 1]
        total = areas[rest] + areas[first] - shared
        left = rest[~(same & (shared > overlap * total))]
    return np.array(kept, np.int64)


def _areas(boxes: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _output(outputs: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in outputs:
        raise UsageError(f"the model has no output '{name}': it has {', '.join(outputs)}.", hint=DESCRIBE)
    return outputs[name]


def _rows(array: np.ndarray, config: DetectionConfig) -> np.ndarray:
    """Return an output as [candidates, values]."""
    import numpy as np

    array = np.asarray(array, np.float32)
    if array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if config.layout == "channels" and config.anchors:  # [anchors * values, height, width]
        count = len(config.anchors[0]) // 2
        array = np.moveaxis(array.reshape(count, array.shape[0] // count, *array.shape[1:]), 1, -1)
    elif config.layout == "channels":
        array = np.moveaxis(array, 0, -1)
    if array.ndim < 2:
        raise UsageError(f"an output of shape {list(array.shape)} does not hold rows of boxes.", hint=DESCRIBE)
    return array.reshape(-1, array.shape[-1])


def _second(array: np.ndarray, count: int) -> np.ndarray:
    """Return another output of the same candidates as [candidates, values]."""
    import numpy as np

    array = np.asarray(array, np.float32)
    array = array[0] if array.ndim > 1 and array.shape[0] == 1 and count != 1 else array
    if array.ndim == 2 and array.shape[0] != count and array.shape[1] == count:
        array = array.T
    return array.reshape(count, -1) if count else array.reshape(0, max(1, array.shape[-1]))


def _split(rows: np.ndarray, config: DetectionConfig) -> dict[str, np.ndarray]:
    """Return the values of each row by what they are; scores with their activation."""
    import numpy as np

    widths: dict[str, int] = {name: 4 * config.bins if name == "box" else 1 for name in config.values}
    if "scores" in widths and config.scores is None:
        widths["scores"] = rows.shape[1] - sum(widths.values()) + 1
    elif "scores" in widths:
        del widths["scores"]
    if sum(widths.values()) > rows.shape[1] or min(widths.values()) < 1:
        raise UsageError(
            f"a row of the output has {rows.shape[1]} values, which are too few for {', '.join(widths)}.", hint=DESCRIBE
        )
    ends = np.cumsum(list(widths.values()))
    parts = {name: rows[:, end - width : end] for (name, width), end in zip(widths.items(), ends, strict=True)}
    if "scores" in parts:
        parts["scores"] = _activated(parts["scores"], config)
    if "objectness" in parts and config.activation == "sigmoid":
        parts["objectness"] = box_grid.sigmoid(parts["objectness"])
    return parts


def _activated(scores: np.ndarray, config: DetectionConfig) -> np.ndarray:
    """Return the probabilities of the classes, without the background's."""
    import numpy as np

    if config.activation == "sigmoid":
        scores = box_grid.sigmoid(scores)
    elif config.activation == "softmax" and scores.size:
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    if config.background is not None:
        scores = scores[:, 1:] if config.background == "first" else scores[:, :-1]
    return scores


def _corners(boxes: np.ndarray, config: DetectionConfig) -> np.ndarray:
    import numpy as np

    if config.encoding == "distances" or (config.encoding == "none" and config.box == "corners"):
        return boxes
    first, second = boxes[:, :2], boxes[:, 2:4]
    if config.encoding == "none" and config.box == "corners-yx":
        return np.concatenate([first[:, ::-1], second[:, ::-1]], axis=1)
    if config.encoding == "none" and config.box == "corner-size":
        return np.concatenate([first, first + second], axis=1)
    half = second * np.float32(0.5)
    return np.concatenate([first - half, first + half], axis=1)
