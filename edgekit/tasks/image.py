"""From pictures to one float tensor, as transformers' slow image processors do it, with Pillow and numpy only.

The steps and their order, the rounding of sizes, the zero padding of small crops and the types follow transformers 4.57
(`image_transforms.py`); the tests compare the result with that of its processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.data import Sample, open_picture
from edgekit.errors import UsageError, listed
from edgekit.spec import TensorSpec, check_feeds
from edgekit.tasks import bilinear
from edgekit.tasks.config import ImageConfig
from edgekit.tasks.placement import place
from edgekit.tasks.tensor import fit

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

FIELDS = ("image", "images", "img", "picture", "pixel_values", "x", "file", "path")
"""Names of the field that holds the picture, the most reliable first."""

MASK = "pixel_mask"
"""The input of transformers' detectors that marks the pixels of the picture, and not of padding: all of them here."""

MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}


def _eight_bits(picture: Image) -> Image:
    """Return the picture, a gray one of 16 bits scaled to 8 bits; Pillow's own conversion clips it to white.

    Raises UsageError for one of unknown range: 32 bits or floating point.
    """
    import numpy as np

    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    array = np.asarray(picture)
    if picture.mode == "F" or array.min(initial=0) < 0 or array.max(initial=0) > 65535:
        kind = "floating-point numbers" if picture.mode == "F" else "32-bit numbers"
        raise UsageError(
            f"a picture of {kind} has no known range: its white level is unknown.",
            hint="save it with 8 or 16 bits, or give arrays (npz) as the model takes them",
        )
    from PIL import Image as pillow

    return pillow.fromarray(np.round(array / 257.0).astype(np.uint8))


def pixels(picture: Image, config: ImageConfig) -> np.ndarray:
    """Return a picture converted, resized, cropped, rescaled, normalised and laid out, float32 [1,C,H,W] or
    [1,H,W,C].
    """
    import numpy as np

    picture = _eight_bits(picture)
    if picture.mode != MODES[config.channels]:
        picture = picture.convert(MODES[config.channels])
    placement = place((picture.height, picture.width), config)
    if config.size is not None and config.antialias:
        picture = picture.resize((placement.width, placement.height), resample=config.resample)
    array = np.asarray(picture)
    if not config.antialias:
        array = bilinear.resize(array, placement.height, placement.width)
    array = array[..., None] if array.ndim == 2 else array
    if placement.size != array.shape[:2]:
        margins = ((placement.top, placement.bottom), (placement.left, placement.right), (0, 0))
        array = np.pad(array, margins, constant_values=config.pad)
    if config.channels == "bgr":
        array = array[..., ::-1]
    if config.crop is not None:
        array = _crop(array, config.crop[0], config.crop[-1])
    # The product in float64, cast to float32, as in transformers' rescale: a float32 product differs in the last digit.
    scaled = (array.astype(np.float64) * config.rescale).astype(np.float32)
    if config.mean is not None or config.std is not None:
        mean, std = np.array(config.mean or (0.0,), np.float32), np.array(config.std or (1.0,), np.float32)
        scaled = np.asarray((scaled - mean) / std, np.float32)
    if config.layout == "nchw":
        scaled = scaled.transpose(2, 0, 1)
    return np.ascontiguousarray(scaled[None])


def _crop(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the centre; a smaller picture is padded with zeros first (the odd row on top, the odd column left)."""
    import numpy as np

    rows, columns = array.shape[:2]
    top, left = (rows - height) // 2, (columns - width) // 2
    if top < 0 or left < 0:
        canvas = np.zeros((max(rows, height), max(columns, width), array.shape[2]), array.dtype)
        above, before = ceil((canvas.shape[0] - rows) / 2), ceil((canvas.shape[1] - columns) / 2)
        canvas[above : above + rows, before : before + columns] = array
        array, top, left = canvas, top + above, left + before
    return array[max(0, top) : top + height, max(0, left) : left + width]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Prepares the image input of a model, from a picture or from pixels that are prepared already."""

    config: ImageConfig
    inputs: Sequence[TensorSpec]

    def __call__(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        spec = self._spec()
        field, value = self.find(sample)
        if field == spec.name and _is_prepared(value, spec):
            feeds = {spec.name: fit(value, spec)}
        else:
            feeds = {spec.name: fit(pixels(open_picture(value, field), self.config), spec)}
        for other in self.inputs:
            if other.name != spec.name and other.name in sample.fields:
                feeds[other.name] = fit(sample.fields[other.name], other)
            elif other.name == MASK:
                feeds[MASK] = _ones(feeds[spec.name], other, self.config)
        check_feeds(self.inputs, feeds)
        return [feeds]

    def _spec(self) -> TensorSpec:
        for spec in self.inputs:
            if spec.name == self.config.input:
                return spec
        images = [spec for spec in self.inputs if len(spec.shape) == 4]
        if len(images) == 1:
            return images[0]
        known = ", ".join(map(str, self.inputs))
        raise UsageError(f"the model has no image input '{self.config.input}'.", hint=f"its inputs: {known}")

    def find(self, sample: Sample) -> tuple[str, Any]:
        """Return the name and the value of the field with the picture. Raises UsageError where there is none."""
        spec = self._spec()
        for name in (spec.name, *FIELDS):
            if name in sample.fields:
                return name, sample.fields[name]
        files = [name for name, value in sample.fields.items() if isinstance(value, (Path, bytes)) or _is_array(value)]
        if len(files) == 1:
            return files[0], sample.fields[files[0]]
        known = listed(sample.fields) or "nothing"
        raise UsageError("the sample has no picture.", hint=f"name its column or array 'image'; the sample has {known}")


def _ones(picture: np.ndarray, spec: TensorSpec, config: ImageConfig) -> np.ndarray:
    import numpy as np

    height, width = picture.shape[2:] if config.layout == "nchw" else picture.shape[1:3]
    return np.ones((1, height, width), spec.numpy_dtype)


def _is_prepared(value: Any, spec: TensorSpec) -> bool:
    return _is_array(value) and value.dtype.kind == "f" and value.ndim >= len(spec.shape) - 1


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and getattr(value, "ndim", 0) >= 2
