"""Pictures, opened with Pillow from a path, bytes or an array. Tasks process the pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.data.samples import Samples
from edgekit.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

ORIENTATION, FIRST_TURNED = 0x0112, 5
"""Exif's tag of the orientation; from 5 on, width and height change places."""

MOST_NAMED = 3
"""How many of the pictures that do not open a message names; the rest are counted."""


class UnreadableImage(UsageError):
    """The picture `name` does not open, because of `reason`."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(
            f"the image '{name}' does not open: {reason}.", hint="replace it, or remove it from the data", image=name
        )


def open_picture(value: Any, name: str = "image") -> Image:
    """Return the decoded picture of a path, encoded bytes, a uint8 array ([H,W], [H,W,C], [C,H,W]) or a Pillow image.

    It is rotated as its Exif orientation says, as transformers' pipelines do.

    Raises UnreadableImage where it does not decode, UsageError for a value that is not a picture.
    """
    pillow = _pillow()
    if isinstance(value, pillow.Image):
        return value  # type: ignore[no-any-return]
    if isinstance(value, (str, Path)):
        return _decode(Path(value), str(value))
    if isinstance(value, (bytes, bytearray)):
        return _decode(io.BytesIO(value), name)
    if hasattr(value, "__array__"):
        return _from_array(value, name)
    raise UsageError(
        f"'{name}' is a {type(value).__name__}, not a picture: give a path, bytes or a uint8 array.",
        hint="give the path of a picture, its bytes, or an array of uint8",
    )


def picture_size(value: Any, name: str = "image") -> tuple[int, int]:
    """Return the height and the width that `open_picture` would give it, from a file's header where it is one."""
    if not isinstance(value, (str, Path, bytes, bytearray)):
        picture = open_picture(value, name)
        return picture.height, picture.width
    file, name = (Path(value), str(value)) if isinstance(value, (str, Path)) else (io.BytesIO(value), name)
    sizes: list[tuple[int, int]] = []

    def measure(picture: Image) -> None:
        turned = picture.getexif().get(ORIENTATION, 1) >= FIRST_TURNED
        sizes.append((picture.width, picture.height) if turned else (picture.height, picture.width))

    _decode(file, name, header_only=True, measure=measure)
    return sizes[0]


def check_pictures(samples: Samples, *, first: UnreadableImage | None = None, decode: bool = True) -> None:
    """Decode every picture, or read its header only. Raises UnreadableImage for one that does not open, UsageError
    with their number for several.

    `first` is raised where all of them open.
    """
    faults: list[UnreadableImage] = []
    for index, sample in enumerate(samples):
        for name, value in sample.fields.items():
            if isinstance(value, (Path, bytes)):
                try:
                    _read(value, f"{name} of sample {index}", decode)
                except UnreadableImage as fault:
                    faults.append(fault)
    if not faults and first is not None:
        raise first
    if len(faults) == 1:
        raise faults[0]
    if faults:
        names = ", ".join(f"'{fault.name}'" for fault in faults[:MOST_NAMED])
        more = f" and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise UsageError(
            f"{len(faults)} of {len(samples)} images in '{samples.source}' do not open: {names}{more}.",
            hint="replace them, or remove them from the data",
            images=len(faults),
        ) from faults[0]


def _read(value: Path | bytes, name: str, decode: bool) -> None:
    if decode:
        open_picture(value, name)
    elif isinstance(value, Path):
        _decode(value, str(value), header_only=True)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise EnvironmentFault(
            "reading images needs Pillow, which is not installed.", hint="pip install 'edgekit[tasks]'"
        ) from error
    return Image


def _decode(
    file: Any, name: str, *, header_only: bool = False, measure: Callable[[Image], None] | None = None
) -> Image:
    pillow = _pillow()
    from PIL import ImageOps

    try:
        with pillow.open(file) as picture:
            if measure is not None:
                measure(picture)
            if header_only:
                return picture  # type: ignore[no-any-return]
            picture.load()
            return ImageOps.exif_transpose(picture)
    except FileNotFoundError as error:
        raise UnreadableImage(name, "the file does not exist") from error
    except pillow.UnidentifiedImageError as error:
        raise UnreadableImage(name, "it is empty, or not in a known image format") from error
    except Exception as error:  # of damaged files: OSError, SyntaxError, ValueError, struct.error and others
        raise UnreadableImage(name, str(error).rstrip(".") or type(error).__name__) from error


def _from_array(value: Any, name: str) -> Image:
    import numpy as np

    pixels = np.asarray(value)
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] in (3, 4))):
        raise UsageError(
            f"the array '{name}' is {pixels.dtype} of shape {list(np.shape(value))}, not a picture.",
            hint="give uint8 pixels [height, width] or [height, width, 3]; an array named as the input is fed as it is",
        )
    return _pillow().fromarray(np.ascontiguousarray(pixels))  # type: ignore[no-any-return]
