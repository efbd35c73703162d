"""Pictures with labelled boxes: COCO's JSON, YOLO's text files, Pascal VOC's XML. Each is read elsewhere; the rows are
the same.

The label of a picture is {"boxes": [[x, y, x, y], ...] in its pixels, "classes": [name or number, ...], "ignored":
[whether the box is one that no score counts, ...]}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit._record import digest_of, digest_of_file
from edgekit.data.picture import picture_size
from edgekit.data.samples import Sample
from edgekit.errors import UsageError

TOLERANCE = 1.0
"""Pixels that a box may reach over the edge, by rounding, without a word."""

MOST_NAMED = 3


@dataclass(frozen=True)
class Marked:
    """A picture and its boxes, as an annotation file has them."""

    path: Path
    boxes: tuple[tuple[float, float, float, float], ...]
    """Two corners, in pixels or in shares of the picture's sides."""
    classes: tuple[Any, ...]
    ignored: tuple[bool, ...] = ()
    where: tuple[str, ...] = ()
    """The place of each box in its file, for messages."""
    size: tuple[int, int] | None = None
    """Height and width, where the file has them; None: those of the picture."""
    shares: bool = False


class BoxRows:
    """The pictures of one set of annotations, in order."""

    def __init__(
        self, kind: str, source: Path, pictures: Sequence[Marked], classes: Sequence[Any], notes: Sequence[str] = ()
    ) -> None:
        self.kind = kind
        self.source = str(source)
        self.classes = tuple(classes)
        self.notes = tuple(notes)
        self._labels = _Labels(pictures)
        self.labels: Sequence[Any] | None = self._labels
        self._pictures = pictures
        if not pictures:
            raise UsageError(f"'{source}' names no pictures.", hint="give annotations of at least one picture")
        missing = [str(each.path) for each in pictures if not each.path.is_file()]
        if missing:
            more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
            names = ", ".join(f"'{name}'" for name in missing[:MOST_NAMED])
            raise UsageError(
                f"{len(missing)} of {len(pictures)} pictures of '{source}' do not exist: {names}{more}.",
                hint="copy the pictures there, or remove them from the annotations",
            )

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        return Sample({"image": self._pictures[index].path}, self._labels[index])

    def digest(self, indexes: Sequence[int] | None) -> str:
        """Return the SHA-256 over pictures and boxes."""
        chosen = range(len(self)) if indexes is None else indexes
        rows = ((self._pictures[index], self._labels[index]) for index in chosen)
        return digest_of([[marked.path.name, digest_of_file(marked.path), label] for marked, label in rows])


class _Labels(Sequence[Any]):
    """The label of each picture, made when it is asked for: YOLO's need the size of the picture."""

    def __init__(self, pictures: Sequence[Marked]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [label(each) for each in self._pictures[index]]
        return label(self._pictures[index])


def label(marked: Marked) -> dict[str, Any]:
    """Return the label of a picture; what reaches over its edge is cut.

    Raises UsageError for a box that is empty or lies outside.
    """
    height, width = marked.size or picture_size(marked.path)
    boxes = []
    for place, (left, top, right, bottom) in enumerate(marked.boxes):
        if marked.shares:
            left, top, right, bottom = left * width, top * height, right * width, bottom * height
        cut = [max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)]
        if not (right > left and bottom > top):
            raise _fault(marked, place, "has no area")
        if not (cut[2] > cut[0] and cut[3] > cut[1]):
            raise _fault(marked, place, f"lies outside the picture, which has {width} x {height} pixels")
        boxes.append(cut)
    ignored = marked.ignored or (False,) * len(boxes)
    return {"boxes": boxes, "classes": list(marked.classes), "ignored": list(ignored)}


def _fault(marked: Marked, place: int, what: str) -> UsageError:
    where = marked.where[place] if marked.where else f"box {place + 1} of '{marked.path}'"
    sides = ", ".join(f"{side:g}" for side in marked.boxes[place])
    return UsageError(
        f"{where}: the box {sides} (left, top, right, bottom in {'shares' if marked.shares else 'pixels'}) {what}.",
        hint="correct that box, or remove it from the annotations",
    )


def reaching_out(pictures: Sequence[Marked]) -> int:
    """Return how many boxes reach over the edge of a picture whose size the annotations have."""
    return sum(
        left < -TOLERANCE or top < -TOLERANCE or right > each.size[1] + TOLERANCE or bottom > each.size[0] + TOLERANCE
        for each in pictures
        if each.size is not None and not each.shares
        for left, top, right, bottom in each.boxes
    )


def notes_on(pictures: Sequence[Marked]) -> tuple[str, ...]:
    """Return notes on boxes that are cut, and on pictures without boxes."""
    notes = []
    if count := reaching_out(pictures):
        notes.append(f"{count} boxes reach over the edge of their picture and were cut there")
    if empty := sum(not each.boxes for each in pictures):
        notes.append(f"{empty} of {len(pictures)} pictures have no boxes: every box found in them is wrong")
    if ignored := sum(map(sum, (each.ignored for each in pictures))):
        notes.append(f"{ignored} boxes are marked as crowds or difficult, and do not count")
    return tuple(notes)
