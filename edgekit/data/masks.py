"""Pictures with a mask each: two folders beside each other, with files of the same names, and how a mask is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._record import digest_of, digest_of_file
from edgekit.data.picture import SUFFIXES, open_picture
from edgekit.data.samples import Sample
from edgekit.errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np

MASK = "mask"
"""The key of a label that is a mask: its file, its bytes or an array."""

PICTURES = ("images", "image", "imgs", "img", "jpegimages", "pictures", "inputs")
MASKS = ("masks", "mask", "annotations", "labels", "label", "segmentationclass", "segmentations", "gt", "groundtruth")
"""Names of the two folders; case does not matter."""

ENDINGS = ("_mask", "-mask", "_seg", "_segmentation", "_label", "_labels", "_gt", "_gtfine_labelids")
"""What a mask's name may have after that of its picture."""

MOST_NAMED = 3


def folders_of(path: Path) -> tuple[Path, Path] | None:
    """Return the folder of the pictures and that of the masks in `path`; None where it has no such pair."""
    children = {child.name.lower(): child for child in path.iterdir() if child.is_dir()}
    pictures = next((children[name] for name in PICTURES if name in children), None)
    masks = next((children[name] for name in MASKS if name in children and _files(children[name])), None)
    return (pictures, masks) if pictures is not None and masks is not None and _files(pictures) else None


class MaskedPictures:
    """The pictures of one folder, each with its mask in another as the label."""

    kind = "folder of images and masks"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, pictures: Path, masks: Path) -> None:
        self.source = str(path)
        by_name = {_plain(file.stem): file for file in _files(masks)}
        self._pairs: list[tuple[Path, Path | None]] = [
            (file, by_name.get(file.stem.lower())) for file in _files(pictures)
        ]
        missing = [file.name for file, mask in self._pairs if mask is None]
        if len(missing) == len(self._pairs):
            example = self._pairs[0][0].stem
            raise UsageError(
                f"no file in '{masks}' has the name of a picture in '{pictures}'.{nearest(example, by_name)}",
                hint="give each mask its picture's name, such as images/a.jpg and masks/a.png",
            )
        if missing:
            raise UsageError(
                f"{len(missing)} of {len(self._pairs)} pictures in '{pictures}' have no mask in '{masks}': "
                f"{', '.join(missing[:MOST_NAMED])}{', ...' if len(missing) > MOST_NAMED else ''}.",
                hint="add the masks, or take those pictures out",
            )
        self.labels: Sequence[Any] | None = [{MASK: mask} for _, mask in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        picture, mask = self._pairs[index]
        return Sample({"image": picture}, {MASK: mask})

    def digest(self, indexes: Sequence[int] | None) -> str:
        chosen = self._pairs if indexes is None else [self._pairs[index] for index in indexes]
        return digest_of([digest_of_file(file) for pair in chosen for file in pair if file is not None])


def read_mask(value: Any) -> np.ndarray:
    """Return the levels of a mask, uint8 [height, width]: of an array, or of a gray or palette picture.

    Raises UsageError for a mask of colours, of several channels, and of levels above 255.
    """
    import numpy as np

    if hasattr(value, "dtype"):
        array = np.asarray(value)
        array = array[0] if array.ndim == 3 and len(array) == 1 else array
    else:
        picture = open_picture(value, "mask")
        if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
            array = np.asarray(picture.convert("RGB"))
            if not ((array[..., 0] == array[..., 1]) & (array[..., 1] == array[..., 2])).all():
                raise UsageError(
                    f"the mask {_named(value)}has colours, and what class a colour is is not known.",
                    hint="write the number of each pixel's class as a level of gray, 0, 1, 2, ...",
                )
            array = array[..., 0]
        else:
            array = np.asarray(picture)
            array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    if array.ndim != 2 or array.dtype.kind not in "iub":
        raise UsageError(
            f"a mask has the shape {list(array.shape)} and the type {array.dtype}, not whole numbers [height, width].",
            hint="give the number of each pixel's class",
        )
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= 255:
        raise UsageError(
            f"the mask {_named(value)}has levels up to {int(array.max())}, and classes are numbers from 0 to 255.",
            hint="write the number of each pixel's class as its level",
        )
    return array.astype(np.uint8)


def _named(value: Any) -> str:
    return f"'{value}' " if isinstance(value, (str, Path)) else ""


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def _plain(stem: str) -> str:
    """Return a mask's name as its picture's."""
    stem = stem.lower()
    return next((stem.removesuffix(ending) for ending in ENDINGS if stem.endswith(ending)), stem)
