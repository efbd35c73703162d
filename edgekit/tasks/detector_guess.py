"""Which family of detectors a graph is of, by the metadata that ultralytics writes and by the shapes of its outputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekit.spec import TensorSpec
from edgekit.tasks.config import ImageConfig
from edgekit.tasks.detection_config import DetectionConfig
from edgekit.tasks.detectors import COCO, FAMILIES, STRIDES

COCO_NUMBERS = 91
"""The classes that DETR's checkpoints count: COCO's numbers, with their gaps, and 0."""


@dataclass(frozen=True)
class Guess:
    """What shapes or metadata show of a detector."""

    family: str
    detection: DetectionConfig
    image: ImageConfig
    classes: int | None
    labels: tuple[str, ...] = ()


def guess(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], names: int | None = None, *, size: int | None = None
) -> Guess | None:
    """Return the family that the shapes of a graph's inputs and outputs are of; None where they show none.

    `names` is the number of classes, where it is known; `size` the input's sides where the graph leaves them free.
    """
    pictures = [spec for spec in inputs if len(spec.shape) == 4]
    if len(pictures) != 1:
        return None
    spec = pictures[0]
    last = spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3)
    sides = [size if isinstance(side, str) else side for side in (spec.shape[1:3] if last else spec.shape[2:])]
    name, classes = _by_outputs(outputs, tuple(sides), names)
    if name is None:
        return None
    kind = FAMILIES[name]
    detection, image = kind.detection, replace(kind.image, input=spec.name, layout="nhwc" if last else "nchw")
    if name == "yolov5-heads":
        detection = replace(detection, outputs=tuple(each.name for each in outputs))
    if name != "torchvision" and None not in sides:
        resize = "exact" if image.resize == "shortest_edge" else image.resize
        image = replace(image, size=(int(sides[0] or 0), int(sides[1] or 0)), resize=resize, longest=None)
    elif name != "torchvision" and image.size is None:
        return None
    return Guess(name, detection, image, classes)


def of_metadata(
    metadata: Mapping[str, str], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Guess | None:
    """Return what the metadata that ultralytics writes into an ONNX file (`task`, `names`, `imgsz`) show of a detector;
    None for a file without them, and for one of another task.
    """
    labels = _names(metadata.get("names", ""))
    if not labels or "stride" not in metadata or metadata.get("task", "detect") != "detect":
        return None
    sizes = _literal(metadata.get("imgsz", ""))
    size = int(sizes[0]) if isinstance(sizes, (list, tuple)) and sizes else None
    shown = guess(inputs, outputs, len(labels), size=size)
    return None if shown is None else replace(shown, labels=labels)


def _names(text: str) -> tuple[str, ...]:
    names = _literal(text)
    if isinstance(names, Mapping) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        return tuple(str(names[key]) for key in sorted(names, key=int))
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()


def _literal(text: str) -> Any:
    """Return the value that Python or JSON would read; None for other text."""
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None


def _by_outputs(
    outputs: Sequence[TensorSpec], sides: tuple[Any, ...], names: int | None
) -> tuple[str | None, int | None]:
    """Return the family's name and its number of classes."""
    by_name = {spec.name: spec for spec in outputs}
    if {"detection_boxes", "detection_scores", "detection_classes", "num_detections"} <= set(by_name):
        return "tensorflow", None
    if {"boxes", "scores", "labels"} == set(by_name):
        return "torchvision", None
    if {"logits", "pred_boxes"} <= set(by_name):
        return _of_queries(by_name["logits"].shape[-1], names)
    shapes = [spec.shape[1:] for spec in outputs]
    if len(shapes) == 3 and all(len(shape) == 4 and shape[0] == 3 for shape in shapes):
        return _known("yolov5-heads", shapes[0][3], 5)
    if len(outputs) != 1:
        return None, None
    shape = shapes[0]
    if len(shape) == 3:
        fits = all(isinstance(side, int) and cells * 16 == side for cells, side in zip(shape[1:], sides, strict=True))
        return _known("fastestdet", shape[0], 5) if fits else (None, None)
    if len(shape) != 2:
        return None, None
    return _of_matrix(shape, sides, names)


def _of_queries(width: Any, names: int | None) -> tuple[str | None, int | None]:
    """Return the family of transformers' detectors by the scores of a query: DETR's have one for no object too."""
    if width in (names, len(COCO)):
        return "rt-detr", width
    if isinstance(width, int) and (width - 1 == names or width == COCO_NUMBERS + 1):
        return "detr", width - 1
    return None, None


def _of_matrix(shape: Sequence[Any], sides: tuple[Any, ...], names: int | None) -> tuple[str | None, int | None]:
    """Return the family of one output [1, A, B] by its number of candidates."""
    first, second = shape
    if second == 6 and (isinstance(first, str) or first <= 1000):
        return "yolov10", None
    known = all(isinstance(side, int) for side in sides)
    counts = {strides: _cells(sides, strides) for strides in (STRIDES, (8, 16, 32, 64))} if known else {}
    if isinstance(first, int) and (second in counts.values() or (isinstance(second, str) and names == first - 4)):
        return _known("yolov8", first, 4)
    if not isinstance(second, int):
        return None, None
    if first in {3 * count for count in counts.values()}:
        return _known("yolov5", second, 5)
    if first == counts.get((8, 16, 32, 64)) and names in (None, second - 32):
        return _known("nanodet", second, 32)
    if first == counts.get(STRIDES):
        return _known("yolox", second, 5)
    if isinstance(first, str) and names == second - 5:
        return _known("yolov5", second, 5)
    return None, None


def _known(name: str, values: Any, beside: int) -> tuple[str | None, int | None]:
    """Return the family where its rows hold scores beside so many other values."""
    return (name, values - beside) if isinstance(values, int) and values > beside else (None, None)


def _cells(sides: tuple[Any, ...], strides: Sequence[int]) -> int:
    return sum(-(-int(sides[0]) // stride) * -(-int(sides[1]) // stride) for stride in strides)
