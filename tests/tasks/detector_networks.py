"""Small networks that write their boxes as the families of detectors do: random weights, the exact layouts.

`reference` decodes each of them a second time, candidate by candidate with Python's own numbers, from the
formulas of the authors and without any line of edgekit.
"""

from __future__ import annotations

import math

import torch
from torch import nn

SIDE, CLASSES = 64, 3
STRIDES = (8, 16, 32)
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


class Heads(nn.Module):
    """A convolution for each stride, on the picture itself."""

    def __init__(self, values: int, strides: tuple[int, ...] = STRIDES, gain: float = 6.0) -> None:
        super().__init__()
        torch.manual_seed(len(strides) * 100 + values)
        self.strides = strides
        self.convolutions = nn.ModuleList(nn.Conv2d(3, values, stride, stride) for stride in strides)
        with torch.no_grad():
            for each in self.convolutions:
                each.weight.normal_(0, gain * each.weight[0].numel() ** -0.5)

    def maps(self, picture):
        return [each(picture) for each in self.convolutions]

    def rows(self, picture):
        return torch.cat([each.flatten(2).transpose(1, 2) for each in self.maps(picture)], 1)


def grid(size: int, stride: int):
    count = -(-size // stride)
    y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
    return torch.stack([x, y], -1).float()


class YoloV5(Heads):
    def __init__(self, decoded: bool = True) -> None:
        super().__init__(3 * (5 + CLASSES))
        self.decoded = decoded

    def forward(self, picture):
        heads = [each.unflatten(1, (3, 5 + CLASSES)).permute(0, 1, 3, 4, 2) for each in self.maps(picture)]
        if not self.decoded:
            return tuple(heads)
        rows = []
        for head, stride, anchors in zip(heads, self.strides, ANCHORS, strict=True):
            y = head.sigmoid()
            xy = (y[..., :2] * 2 - 0.5 + grid(SIDE, stride)) * stride
            wh = (y[..., 2:4] * 2) ** 2 * torch.tensor(anchors).float().view(1, 3, 1, 1, 2)
            rows.append(torch.cat([xy, wh, y[..., 4:]], -1).flatten(1, 3))
        return torch.cat(rows, 1)


class YoloV8(Heads):
    def __init__(self) -> None:
        super().__init__(4 + CLASSES)

    def forward(self, picture):
        rows = self.rows(picture)
        cells = torch.cat([(grid(SIDE, stride).view(-1, 2) + 0.5) * stride for stride in self.strides])
        return torch.cat([cells + rows[..., :2], 8 + rows[..., 2:4].abs() * 8, rows[..., 4:].sigmoid()], 2).transpose(
            1, 2
        )


class YoloV10(YoloV8):
    """One box for each object, as the graph itself chose them."""

    def forward(self, picture):
        rows = super().forward(picture).transpose(1, 2)
        scores, place = rows[..., 4:].flatten(1).topk(50)
        center, size = rows[..., :2], rows[..., 2:4]
        corners = torch.cat([center - size / 2, center + size / 2], 2)
        chosen = corners.gather(1, (place // CLASSES).unsqueeze(-1).expand(-1, -1, 4))
        return torch.cat([chosen, scores.unsqueeze(-1), (place % CLASSES).unsqueeze(-1).float()], 2)


class YoloX(Heads):
    def __init__(self) -> None:
        super().__init__(5 + CLASSES, gain=0.02)  # its pictures are of 0 to 255

    def forward(self, picture):
        rows = self.rows(picture)
        return torch.cat([rows[..., :4] * 0.5, rows[..., 4:].sigmoid()], 2)


class NanoDet(Heads):
    def __init__(self) -> None:
        super().__init__(CLASSES + 32, (8, 16, 32, 64), gain=3.0)

    def forward(self, picture):
        rows = self.rows(picture)
        return torch.cat([rows[..., :CLASSES].sigmoid(), rows[..., CLASSES:]], 2)


class FastestDet(Heads):
    def __init__(self) -> None:
        super().__init__(5 + CLASSES, (16,))

    def forward(self, picture):
        (head,) = self.maps(picture)
        return torch.cat([head[:, :1].sigmoid(), head[:, 1:5], head[:, 5:].softmax(1)], 1)


class Ssd(Heads):
    def __init__(self) -> None:
        super().__init__(5 + CLASSES)

    def forward(self, picture):
        rows = self.rows(picture)
        return rows[..., :4], rows[..., 4:], priors()


def priors():
    rows = []
    for stride in STRIDES:
        centers = (grid(SIDE, stride).view(-1, 2) + 0.5) * stride / SIDE
        rows.append(torch.cat([centers, torch.full_like(centers, stride * 1.5 / SIDE)], 1))
    return torch.cat(rows)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def _center(x: float, y: float, w: float, h: float) -> list[float]:
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def reference(family: str, outputs: list) -> list[tuple[list[float], list[float]]]:
    """Return each candidate's corners in pixels of the input, and its score for each class."""
    first = outputs[0][0].tolist()
    found = []
    if family in ("yolov5", "yolov8"):
        rows = first if family == "yolov5" else [list(row) for row in zip(*first, strict=True)]
        for row in rows:
            scores = [row[4] * score for score in row[5:]] if family == "yolov5" else row[4:]
            found.append((_center(*row[:4]), scores))
    elif family == "yolov5-heads":
        for head, stride, anchors in zip(outputs, STRIDES, ANCHORS, strict=True):
            for plane, (width, height) in zip(head[0].tolist(), anchors, strict=True):
                for y, line in enumerate(plane):
                    for x, row in enumerate(line):
                        sides = [_sigmoid(value) for value in row]
                        cx, cy = (sides[0] * 2 - 0.5 + x) * stride, (sides[1] * 2 - 0.5 + y) * stride
                        w, h = (sides[2] * 2) ** 2 * width, (sides[3] * 2) ** 2 * height
                        found.append((_center(cx, cy, w, h), [sides[4] * score for score in sides[5:]]))
    elif family == "yolov10":
        for *corners, score, number in first:
            found.append((corners, [score if place == number else 0.0 for place in range(CLASSES)]))
    elif family in ("yolox", "nanodet"):
        strides = STRIDES if family == "yolox" else (8, 16, 32, 64)
        places = [(x, y, stride) for stride in strides for y in range(SIDE // stride) for x in range(SIDE // stride)]
        for (x, y, stride), row in zip(places, first, strict=True):
            if family == "yolox":
                box = _center(
                    (x + row[0]) * stride, (y + row[1]) * stride, math.exp(row[2]) * stride, math.exp(row[3]) * stride
                )
                found.append((box, [row[4] * score for score in row[5:]]))
                continue
            shares = [_softmax(row[CLASSES + 8 * side : CLASSES + 8 * side + 8]) for side in range(4)]
            left, top, right, bottom = (stride * sum(i * p for i, p in enumerate(share)) for share in shares)
            box = [x * stride - left, y * stride - top, x * stride + right, y * stride + bottom]
            found.append((box, row[:CLASSES]))
    elif family == "fastestdet":
        for y in range(SIDE // 16):
            for x in range(SIDE // 16):
                row = [channel[y][x] for channel in first]
                box = _center(
                    (x + math.tanh(row[1])) * 16,
                    (y + math.tanh(row[2])) * 16,
                    _sigmoid(row[3]) * SIDE,
                    _sigmoid(row[4]) * SIDE,
                )
                found.append((box, [row[0] ** 0.6 * score**0.4 for score in row[5:]]))
    else:
        for delta, logits, prior in zip(first, outputs[1][0].tolist(), outputs[2].tolist(), strict=True):
            box = _center(
                prior[0] + delta[0] * 0.1 * prior[2],
                prior[1] + delta[1] * 0.1 * prior[3],
                prior[2] * math.exp(delta[2] * 0.2),
                prior[3] * math.exp(delta[3] * 0.2),
            )
            found.append(([side * SIDE for side in box], _softmax(logits)[1:]))
    return found
