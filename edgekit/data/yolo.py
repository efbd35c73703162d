"""YOLO's data: a text file for each picture, a line for each box, in `labels` as the pictures are in `images`.

A line is a class's number, then center and size as shares of the picture, or the corners of a polygon around the object
(https://docs.ultralytics.com/datasets/detect/). `data.yaml` has the classes' names and the splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.data.boxes import BoxRows, Marked, notes_on
from edgekit.data.folder import files, is_picture
from edgekit.data.samples import DataRef, Rows
from edgekit.data.split import choose_split
from edgekit.errors import EnvironmentFault, UsageError

KIND = "YOLO labels"
SPLITS = ("val", "valid", "validation", "test", "train")
FILES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")

_LINE = "a line is 'class center-x center-y width height', the last four as shares of the picture"


def description_in(folder: Path) -> Path | None:
    """Return the file that describes the data of a folder; None where it has none."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def is_yolo(folder: Path) -> bool:
    """Return whether a folder has pictures and labels; labels that are pictures are masks."""
    labels = folder / "labels"
    return (folder / "images").is_dir() and labels.is_dir() and next(files(labels), None) is None


def read_folder(folder: Path, data: DataRef) -> Rows:
    """Return the rows of a folder with `images` and `labels`, which may have the folders of splits."""
    images = folder / "images"
    names = sorted(child.name for child in images.iterdir() if child.is_dir())
    notes: tuple[str, ...] = ()
    if names and not any(map(is_picture, images.iterdir())):
        name, notes = choose_split(names, data.split, str(images), train=data.train)
        images = images / name
    classes = next(
        (path for path in (folder / "classes.txt", folder / "labels" / "classes.txt") if path.is_file()), None
    )
    known = [] if classes is None else [line.strip() for line in classes.read_text().splitlines() if line.strip()]
    return _rows(folder, list(files(images)), known, notes)


def read_description(path: Path, data: DataRef) -> Rows:
    """Return the rows of a split that a data.yaml names. Raises UsageError for a file without splits or names."""
    content = _yaml(path)
    splits = {name: content[name] for name in SPLITS if content.get(name)}
    if not splits:
        raise UsageError(
            f"'{path}' names no pictures.", hint="add the line 'val: images/val', a folder beside the file"
        )
    known = content.get("names", [])
    if isinstance(known, Mapping):
        known = [known[number] for number in sorted(known)]
    name, notes = choose_split(list(splits), data.split, str(path), train=data.train)
    places = splits[name] if isinstance(splits[name], list) else [splits[name]]
    root = path.parent / str(content.get("path") or "")
    pictures = [picture for place in places for picture in _pictures(str(place), root, path)]
    return _rows(path, pictures, [str(each) for each in known], notes)


def _pictures(place: str, root: Path, path: Path) -> list[Path]:
    """Return the pictures of a folder, or of a list of pictures."""
    # Roboflow writes ../train/images for what lies beside the file, and ultralytics reads it so.
    options = [root / place, path.parent / place, path.parent / place.removeprefix("../")]
    place_of = next((option for option in options if option.exists()), None)
    if place_of is None:
        raise UsageError(
            f"'{path}' names the pictures '{place}', which do not exist.",
            hint=f"put them at '{options[0]}', or correct it",
        )
    if place_of.is_dir():
        return list(files(place_of))
    lines = [line.strip() for line in place_of.read_text().splitlines() if line.strip()]
    return [place_of.parent / line for line in lines]


def _rows(source: Path, pictures: Sequence[Path], names: Sequence[str], notes: Sequence[str]) -> BoxRows:
    labels = [_label_file(picture) for picture in pictures]
    missing = sum(not label.is_file() for label in labels)
    if pictures and missing == len(pictures):
        raise UsageError(
            f"none of the {len(pictures)} pictures of '{source}' has a file of labels: '{labels[0]}' is the first.",
            hint="put the labels into a folder 'labels' beside 'images', with the same names and .txt",
        )
    marked = [_marked(*pair, names) for pair in zip(pictures, labels, strict=True)]
    classes: Sequence[Any] = names or sorted({number for each in marked for number in each.classes})
    notes = (*notes_on(marked), *notes)
    if missing:
        notes = (
            *notes,
            f"{missing} of {len(pictures)} pictures have no file of labels: they are taken to have no objects",
        )
    return BoxRows(KIND, source, marked, classes, notes)


def _label_file(picture: Path) -> Path:
    """Return the file of a picture's labels: the last folder `images` in its path is `labels` there."""
    parts = picture.parts
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if not places:
        return picture.with_suffix(".txt")
    return Path(*parts[: places[-1]], "labels", *parts[places[-1] + 1 :]).with_suffix(".txt")


def _marked(picture: Path, label: Path, names: Sequence[str]) -> Marked:
    boxes, classes, where = [], [], []
    for number, line in enumerate(label.read_text().splitlines() if label.is_file() else (), 1):
        if not line.strip():
            continue
        place = f"'{label}' line {number}"
        kind, box = _box(line, place)
        if names and kind >= len(names):
            raise UsageError(
                f"{place}: the class {kind} is not one of the {len(names)} that the data names, which count from 0.",
                hint="correct the line, or add the class to names in data.yaml",
            )
        boxes.append(box)
        classes.append(names[kind] if names else kind)
        where.append(place)
    return Marked(picture, tuple(boxes), tuple(classes), (), tuple(where), shares=True)


def _box(line: str, place: str) -> tuple[int, tuple[float, float, float, float]]:
    try:
        kind, *sides = (float(word) for word in line.split())
    except ValueError as error:
        raise UsageError(f"{place}: '{line[:60]}' is not a row of numbers.", hint=_LINE) from error
    if kind < 0 or not kind.is_integer() or (len(sides) != 4 and (len(sides) < 6 or len(sides) % 2)):
        raise UsageError(f"{place}: '{line[:60]}' is not a box.", hint=_LINE)
    if len(sides) > 4:
        return int(kind), (min(sides[::2]), min(sides[1::2]), max(sides[::2]), max(sides[1::2]))
    x, y, width, height = sides
    if max(sides) > 2:  # a share of a picture is at most 1
        raise UsageError(f"{place}: the box {line.strip()[:60]} lies outside the picture: it is in pixels.", hint=_LINE)
    return int(kind), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise EnvironmentFault(
            "reading a data.yaml needs PyYAML, which is not installed.", hint="pip install 'edgekit[metrics]'"
        ) from error
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"'{path}' is not valid YAML: {str(error).splitlines()[0]}.", hint="correct that line"
        ) from error
    if not isinstance(content, Mapping):
        raise UsageError(f"'{path}' does not describe data: it has no keys.", hint="write 'val: images/val' and names")
    return content
