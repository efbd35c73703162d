"""Boxes relative to a grid's cells or to priors, as absolute ones.

The formulas are those of the networks' authors: YOLOv3 (Redmon and Farhadi 2018, section 2.1), YOLOv5
(`models/yolo.py`, Detect), YOLOX (`yolo_head.py`, decode_outputs), FastestDet (`utils/tool.py`, handle_preds), NanoDet
(`nanodet_plus_head.py`, get_bboxes; the distribution: Li and others 2020), SSD (Liu and others 2016, section 2.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.tasks.detection_config import ANCHORED, DetectionConfig

if TYPE_CHECKING:
    import numpy as np


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    import numpy as np

    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def cells(config: DetectionConfig, size: tuple[int, int]) -> np.ndarray:
    """Return [N,5], float32: column, row and stride of each cell, and the width and height of its anchor, in the order
    stride, anchor, row, column.
    """
    import numpy as np

    grids = []
    for number, stride in enumerate(config.strides):
        height, width = (-(-side // stride) for side in size)
        flat = config.anchors[number] if config.encoding in ANCHORED else (0.0, 0.0)
        for anchor in zip(flat[::2], flat[1::2], strict=True):
            rows, columns = np.indices((height, width))
            values = (columns, rows, np.full_like(rows, stride), *(np.full(rows.shape, side) for side in anchor))
            grids.append(np.stack([np.asarray(value, np.float32).reshape(-1) for value in values], axis=1))
    return np.concatenate(grids)


def decode(boxes: np.ndarray, config: DetectionConfig, size: tuple[int, int]) -> np.ndarray:
    """Return boxes in pixels of an input of `size`: corners of `distances`, else center and size.

    Raises UsageError where the grid has not a cell for each box.
    """
    import numpy as np

    grid = cells(config, size)
    if len(grid) != len(boxes):
        strides = ", ".join(map(str, config.strides))
        raise UsageError(
            f"the grid of strides {strides} has {len(grid)} places in an input of {size[1]} x {size[0]} pixels, and "
            f"the output holds {len(boxes)} boxes.",
            hint="correct strides, anchors or the size of [image] in the detector's description",
        )
    at, stride, anchors = grid[:, :2], grid[:, 2:3], grid[:, 3:]
    if config.encoding == "distances":
        sides = (_expected(boxes, config.bins) if config.bins > 1 else boxes) * stride
        points = (at + np.float32(config.offset)) * stride
        return np.concatenate([points - sides[:, :2], points + sides[:, 2:]], axis=1)
    place, extent = boxes[:, :2], boxes[:, 2:]
    if config.encoding == "yolox":
        place, extent = (place + at) * stride, np.exp(extent) * stride
    elif config.encoding == "yolov5":
        place, extent = (sigmoid(place) * 2 - np.float32(0.5) + at) * stride, (sigmoid(extent) * 2) ** 2 * anchors
    elif config.encoding == "yolov3":
        place, extent = (sigmoid(place) + at) * stride, np.exp(extent) * anchors
    else:  # fastestdet: the size is a share of the input
        place, extent = (np.tanh(place) + at) * stride, sigmoid(extent) * np.array(size[::-1], np.float32)
    return np.concatenate([place, extent], axis=1)


def from_priors(deltas: np.ndarray, priors: np.ndarray, config: DetectionConfig) -> np.ndarray:
    """Return center and size of boxes that are written relative to priors [N,4] (center and size)."""
    import numpy as np

    if len(priors) != len(deltas):
        raise UsageError(
            f"there are {len(priors)} priors for {len(deltas)} boxes.",
            hint="give the priors that the network was trained with, one for each box",
        )
    center, extent = (np.float32(variance) for variance in config.variances)
    return np.concatenate(
        [priors[:, :2] + deltas[:, :2] * center * priors[:, 2:], priors[:, 2:] * np.exp(deltas[:, 2:] * extent)], axis=1
    )


def _expected(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the four expected distances of each row's distributions over 0, 1, ... `bins` - 1."""
    import numpy as np

    rows = values.reshape(-1, 4, bins)
    powers = np.exp(rows - rows.max(axis=2, keepdims=True))
    return np.asarray(powers @ np.arange(bins, dtype=np.float32) / powers.sum(axis=2), np.float32)
