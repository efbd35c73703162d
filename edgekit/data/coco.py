"""COCO's annotations: one JSON file with the tables images, annotations and categories.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit._reading import read_json
from edgekit.data.boxes import BoxRows, Marked, notes_on
from edgekit.data.samples import DataRef, Rows
from edgekit.data.split import choose_split
from edgekit.errors import UsageError, listed

KIND = "COCO annotations"
TABLES = ("images", "annotations", "categories")

JSON_BYTES = 1 << 30

_NAMES = ("_annotations.coco.json", "annotations.json", "coco.json", "labels.json")
_AGAIN = "write the annotations again with the tool that made them; https://cocodataset.org/#format-data has the format"


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder that have COCO's annotations of boxes, by their names."""
    below = folder / "annotations"
    named = [*sorted(below.glob("*instances*.json")), *sorted(folder.glob("*instances*.json"))]
    if not named:
        named = [
            path for path in (*(folder / name for name in _NAMES), *sorted(below.glob("*.json"))) if path.is_file()
        ]
    return named


def read_folder(folder: Path, files: Sequence[Path], data: DataRef) -> Rows:
    """Return the rows of one of a folder's files: that of the split."""
    by_split = {re.sub(r"^(person_)?_?instances_|\.json$", "", file.name): file for file in files}
    name, notes = choose_split(list(by_split), data.split, str(folder), train=data.train)
    rows = read(by_split[name])
    rows.notes = (*rows.notes, *notes)
    return rows


def read(path: Path) -> BoxRows:
    """Return the rows of a file. Raises UsageError for one that is not COCO's, or refers to what it does not have."""
    content = read_json(path, "the annotations", hint=_AGAIN, most=JSON_BYTES)
    tables = [content.get(name) if isinstance(content, Mapping) else None for name in TABLES]
    for name, table in zip(TABLES, tables, strict=True):
        if not isinstance(table, list) or not all(isinstance(entry, Mapping) for entry in table):
            raise UsageError(f"'{path}' has no table '{name}', as COCO's annotations have it.", hint=_AGAIN)
    images, annotations, categories = (
        _by_id(table or [], path, name) for name, table in zip(TABLES, tables, strict=True)
    )
    classes = {number: str(categories[number].get("name", number)) for number in sorted(categories)}
    boxes: dict[Any, list[Mapping[str, Any]]] = {number: [] for number in images}
    for entry in annotations.values():
        for key, known, what in (("category_id", classes, "class"), ("image_id", boxes, "picture")):
            if entry.get(key) not in known:
                raise UsageError(
                    f"'{path}': the annotation {entry.get('id')} is of the {what} {entry.get(key)}, which the file "
                    "does not have.",
                    hint=f"add it to {'categories' if what == 'class' else 'images'}, or remove the annotation; "
                    f"classes: {listed(f'{number} {name}' for number, name in classes.items())}",
                )
        boxes[entry["image_id"]].append(entry)
    folder = _pictures_of(path, images)
    pictures = [_marked(path, folder, images[number], boxes[number], classes) for number in images]
    return BoxRows(KIND, path, pictures, tuple(classes.values()), notes_on(pictures))


def _by_id(table: Sequence[Mapping[str, Any]], path: Path, name: str) -> dict[Any, Mapping[str, Any]]:
    entries = {}
    for place, entry in enumerate(table):
        number = entry.get("id", place if name == "annotations" else None)
        if not isinstance(number, (int, str)) or number in entries:
            raise UsageError(f"'{path}': entry {place} of '{name}' has no id of its own.", hint=_AGAIN)
        entries[number] = entry
    return entries


def _marked(
    path: Path, folder: Path, image: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], classes: Mapping[Any, str]
) -> Marked:
    boxes = []
    for entry in entries:
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, (int, float)) for side in box):
            raise UsageError(
                f"'{path}': the annotation {entry.get('id')} has no box [x, y, width, height].", hint=_AGAIN
            )
        boxes.append((box[0], box[1], box[0] + box[2], box[1] + box[3]))
    sides = image.get("height"), image.get("width")
    marked = Marked(
        folder / str(image.get("file_name")),
        tuple(boxes),
        tuple(classes[entry["category_id"]] for entry in entries),
        tuple(bool(entry.get("iscrowd")) for entry in entries),
        tuple(f"'{path}': the annotation {entry.get('id')}" for entry in entries),
    )
    height, width = sides
    return replace(marked, size=(height, width)) if isinstance(height, int) and isinstance(width, int) else marked


def _pictures_of(path: Path, images: Mapping[Any, Mapping[str, Any]]) -> Path:
    """Return the folder that the file names of pictures are relative to: the first that has one of them."""
    split = re.sub(r"^.*instances_|\.json$", "", path.name)
    above = path.parent.parent if path.parent.name == "annotations" else path.parent
    folders = [
        folder / part
        for folder in dict.fromkeys((path.parent, above))
        for part in ("", "images", split, f"images/{split}")
    ]
    names = [str(image.get("file_name")) for image in images.values()]
    return next((folder for folder in folders if any((folder / name).is_file() for name in names)), path.parent)
