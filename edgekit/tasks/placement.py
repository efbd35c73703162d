"""Where a picture lies in the input of a network: its size after resizing, and the margins of a letterbox.

Letterboxes are those of ultralytics (`data/augment.py`, LetterBox: in the middle) and YOLOX (`data/data_augment.py`,
preproc: in the top left corner), to the rounding of each number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.tasks.config import ImageConfig

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Placement:
    """The size [pixels] that a picture is resized to, and the input around it."""

    height: int
    width: int
    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0
    gain: float | None = None
    """How much a letterbox scales both sides; None where each side has its own scale."""

    @property
    def size(self) -> tuple[int, int]:
        """The height and the width of the input."""
        return self.top + self.height + self.bottom, self.left + self.width + self.right

    def in_picture(self, boxes: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
        """Return boxes [count, 4] (x, y, x, y) in pixels of the input as pixels of a picture of (height, width)."""
        import numpy as np

        y, x = (self.gain, self.gain) if self.gain is not None else (self.height / picture[0], self.width / picture[1])
        corner = np.array([self.left, self.top] * 2, boxes.dtype)
        return np.asarray((boxes - corner) / np.array([x, y] * 2, boxes.dtype))


def place(picture: tuple[int, int], config: ImageConfig) -> Placement:
    """Return the placement of a picture of (height, width)."""
    height, width = picture
    if config.size is None:
        return Placement(height, width)
    if config.resize == "exact":
        return Placement(config.size[0], config.size[-1])
    if config.resize == "shortest_edge":
        return Placement(*_shortest_edge(height, width, config.size[0], config))
    rows, columns = config.size[0], config.size[-1]
    gain = min(rows / height, columns / width)
    if config.resize == "letterbox-corner":
        inner = max(1, int(height * gain)), max(1, int(width * gain))
        return Placement(*inner, bottom=rows - inner[0], right=columns - inner[1], gain=gain)
    inner = max(1, round(height * gain)), max(1, round(width * gain))
    top, left = (round((outer - side) / 2 - 0.1) for outer, side in zip((rows, columns), inner, strict=True))
    return Placement(*inner, top, left, rows - inner[0] - top, columns - inner[1] - left, gain)


def _shortest_edge(height: int, width: int, edge: int, config: ImageConfig) -> tuple[int, int]:
    """Return the size as transformers' `get_size_with_aspect_ratio` computes it."""
    exact: float = edge
    if config.longest is not None and max(height, width) / min(height, width) * edge > config.longest:
        exact = config.longest * min(height, width) / max(height, width)
        edge = round(exact)
    if min(height, width) == edge and config.longest is not None:
        size = height, width
    elif width <= height:
        size = int(exact * height / width), edge
    else:
        size = edge, int(exact * width / height)
    return size[0] - size[0] % config.multiple, size[1] - size[1] % config.multiple
