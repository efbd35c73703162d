"""Answers drawn into the picture that they are of: boxes with their labels, masks as a tint, maps as levels of gray.

Colours are those of a class's number, so that a class has the same colour in every picture.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Image  # for annotations elsewhere

GOLDEN = 0.618033988749895
"""The golden ratio's part: steps of it around the circle of hues keep neighbouring numbers far apart."""

TINT = 0.5
"""The share of a mask's colour in a pixel."""

FACE = 32
"""The letters' height is one in so many pixels of the picture's longer side."""


def colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class, red, green and blue from 0 to 255."""
    shade = colorsys.hsv_to_rgb((number * GOLDEN) % 1.0, 0.85, 0.95)
    return tuple(round(255 * part) for part in shade)  # type: ignore[return-value]  # three parts


def with_boxes(picture: Image, boxes: Sequence[Sequence[float]], texts: Sequence[str], numbers: Sequence[int]) -> Image:
    """Return a copy with boxes (left, top, right, bottom in pixels), each with its text and its class's colour."""
    from PIL import ImageDraw, ImageFont

    drawn = picture.convert("RGB")
    draw = ImageDraw.Draw(drawn)
    face = max(10, max(drawn.size) // FACE)
    font = ImageFont.load_default(face)
    for (left, top, right, bottom), text, number in zip(boxes, texts, numbers, strict=True):
        shade = colour(number)
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=shade, width=max(1, face // 8))
        wide = draw.textlength(text, font=font)
        # Above the box where there is room, else inside it.
        line = top - face - 2 if top > face + 2 else top
        draw.rectangle((left, line, left + wide + 4, line + face + 2), fill=shade)
        draw.text((left + 2, line), text, fill="black", font=font)
    return drawn


def with_mask(picture: Image, classes: np.ndarray, background: int | None = None) -> Image:
    """Return a copy tinted by the class of each pixel, [height, width]; pixels of `background` stay as they are."""
    import numpy as np
    from PIL import Image as pillow

    pixels = np.asarray(picture.convert("RGB"), np.float32)
    shades = np.array([colour(number) for number in range(int(classes.max(initial=0)) + 1)], np.float32)
    tinted = (1 - TINT) * pixels + TINT * shades[classes]
    if background is not None:
        tinted = np.where((classes == background)[..., None], pixels, tinted)
    return pillow.fromarray(np.rint(tinted).astype(np.uint8))


def of_map(values: np.ndarray) -> Image:
    """Return a map [height, width] as a gray picture, its least value black and its greatest white."""
    import numpy as np
    from PIL import Image as pillow

    low, high = float(values.min()), float(values.max())
    levels = np.zeros(values.shape) if high <= low else (values - low) / (high - low)
    return pillow.fromarray(np.rint(255 * levels).astype(np.uint8))
