"""FastestDet's pictures, the decoding of its output, and mean average precision at an overlap of a half."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

from models.place import assets

INPUT = "input.1"
SIDE = 352
MOST_BOXES = 64
LEAST_SCORE = 0.01
OVERLAP = 0.45


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return coco128's pictures as the network wants them, and their boxes [count, 64, 5]: class (-1: none), x1 y1 x2
    y2 as shares of the picture.
    """
    from PIL import Image

    pixels, boxes = {}, {}
    with tarfile.open(assets("fastestdet") / "coco128.tar") as archive:
        for member in archive:
            path = Path(member.name)
            if path.suffix == ".jpg":
                picture = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
                pixels[path.stem] = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))[..., ::-1]
            elif path.suffix == ".txt" and path.parts[0] == "object_detection":
                boxes[path.stem] = _boxes(archive.extractfile(member).read().decode())
    names = sorted(pixels)
    images = np.stack([pixels[name] for name in names]).astype(np.float32).transpose(0, 3, 1, 2) / 255
    none = np.full((MOST_BOXES, 5), -1, np.float32)
    return np.ascontiguousarray(images), np.stack([boxes.get(name, none) for name in names])


def detections(output: np.ndarray) -> np.ndarray:
    """Decode one output [85, 22, 22] into rows of class, x1 y1 x2 y2, score, after suppression within each class."""
    size = output.shape[-1]
    objectness, box, scores = output[0], output[1:5], output[5:]
    best = scores.argmax(0)
    score = np.abs(objectness) ** 0.6 * np.abs(scores.max(0)) ** 0.4
    y, x = np.nonzero(score > LEAST_SCORE)
    cx, cy = ((place + np.tanh(box[axis, y, x])) / size for axis, place in ((0, x), (1, y)))
    w, h = (1 / (1 + np.exp(-box[axis, y, x])) for axis in (2, 3))
    rows = np.stack([best[y, x], cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score[y, x]], axis=1)
    rows = rows[np.argsort(-rows[:, 5], kind="stable")]
    kept: list[np.ndarray] = []
    for row in rows:
        rivals = [other for other in kept if other[0] == row[0]]
        if not rivals or overlaps(row[1:5], np.stack(rivals)[:, 1:5]).max() < OVERLAP:
            kept.append(row)
    return np.stack(kept) if kept else np.empty((0, 6))


def judge(outputs: list[dict[str, np.ndarray]], labels: list[np.ndarray]) -> float:
    """Return the mean average precision of the network's outputs, as `edgekit export --metric` asks for it."""
    return map50(
        [detections(np.asarray(next(iter(output.values())), np.float64)[0]) for output in outputs], np.stack(labels)
    )


def map50(detected: list[np.ndarray], wanted: np.ndarray) -> float:
    """Return the mean over classes of the area under precision against recall; a box counts at an overlap of a half."""
    classes = sorted({int(row[0]) for boxes in wanted for row in boxes if row[0] >= 0})
    return float(np.mean([_average_precision(detected, wanted, number) for number in classes]))


def _average_precision(detected: list[np.ndarray], wanted: np.ndarray, number: int) -> float:
    truths = [boxes[boxes[:, 0] == number][:, 1:] for boxes in wanted]
    ranked = sorted(
        ((row[5], at, row[1:5]) for at, rows in enumerate(detected) for row in rows if row[0] == number),
        key=lambda entry: -entry[0],
    )
    taken = [np.zeros(len(boxes), bool) for boxes in truths]
    hits = np.zeros(len(ranked))
    for place, (_, at, box) in enumerate(ranked):
        shares = np.where(taken[at], 0, overlaps(box, truths[at])) if len(truths[at]) else np.zeros(1)
        if shares.max() >= 0.5:
            taken[at][shares.argmax()] = True
            hits[place] = 1
    total = sum(map(len, truths))
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    # The envelope: at each recall, the best precision at that recall or a higher one.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hits).sum() / total)


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of a box with each of the others."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return shared / ((box[2] - box[0]) * (box[3] - box[1]) + areas - shared)


def _boxes(text: str) -> np.ndarray:
    """Read YOLO's rows, class and centre and size, padded to a fixed number with class -1."""
    rows = np.array([line.split() for line in text.splitlines() if line.strip()], np.float32).reshape(-1, 5)
    boxes = np.full((MOST_BOXES, 5), -1, np.float32)
    kept = rows[:MOST_BOXES]
    half = kept[:, 3:] / 2
    boxes[: len(kept)] = np.concatenate([kept[:, :1], kept[:, 1:3] - half, kept[:, 1:3] + half], axis=1)
    return boxes
