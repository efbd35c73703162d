"""Pascal VOC's annotations: an XML file for each picture.

Its corners count pixels from 1, and the last pixel is in the box (development kit of VOC 2012, section 3).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from edgekit.data.boxes import BoxRows, Marked, notes_on
from edgekit.data.picture import SUFFIXES
from edgekit.data.samples import DataRef, Rows
from edgekit.data.split import choose_split
from edgekit.errors import UsageError

KIND = "Pascal VOC annotations"

_AGAIN = "write the annotation again with the tool that made it, or remove the file"


def is_voc(folder: Path) -> bool:
    """Return whether a folder has XML files of pictures, in `Annotations` or beside the pictures."""
    files = next((folder / "Annotations").glob("*.xml"), None) or next(folder.glob("*.xml"), None)
    return files is not None and b"<annotation" in files.read_bytes()[:4096]


def read(folder: Path, data: DataRef) -> Rows:
    """Return the rows of a folder, of the split where `ImageSets/Main` has lists."""
    below = folder / "Annotations"
    place, pictures = (below, folder / "JPEGImages") if below.is_dir() else (folder, folder)
    files = sorted(place.glob("*.xml"))
    notes: tuple[str, ...] = ()
    lists = {file.stem: file for file in sorted((folder / "ImageSets" / "Main").glob("*.txt")) if "_" not in file.stem}
    lists.pop("trainval", None)
    if lists or data.split is not None:
        name, notes = choose_split(list(lists), data.split, str(folder), train=data.train)
        words = [line.split()[0] for line in lists[name].read_text().splitlines() if line.strip()]
        files = [place / f"{word}.xml" for word in words]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise UsageError(
                f"'{lists[name]}' names {len(missing)} annotations that do not exist: '{missing[0]}'.",
                hint="copy them there, or remove their lines",
            )
    marked = [_marked(file, pictures) for file in files]
    classes = sorted({name for each in marked for name in each.classes})
    return BoxRows(KIND, folder, marked, classes, (*notes_on(marked), *notes))


def _marked(file: Path, pictures: Path) -> Marked:
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise UsageError(f"'{file}' is not complete XML: {error}.", hint=_AGAIN) from error
    boxes, classes, difficult = [], [], []
    for place, entry in enumerate(root.iter("object"), 1):
        name, box = entry.findtext("name"), entry.find("bndbox")
        try:
            left, top, right, bottom = (float(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax"))  # type: ignore[union-attr]
        except (ValueError, AttributeError) as error:
            raise UsageError(f"'{file}': object {place} has no box of four numbers.", hint=_AGAIN) from error
        if not name:
            raise UsageError(f"'{file}': object {place} has no name of its class.", hint=_AGAIN)
        boxes.append((left - 1, top - 1, right, bottom))
        classes.append(name.strip())
        difficult.append(entry.findtext("difficult", "0").strip() == "1")
    height, width = (_number(root.findtext(f"size/{side}")) for side in ("height", "width"))
    return Marked(
        _picture(root.findtext("filename"), file, pictures),
        tuple(boxes),
        tuple(classes),
        tuple(difficult),
        tuple(f"'{file}': object {place}" for place in range(1, len(boxes) + 1)),
        (height, width) if height and width else None,
    )


def _picture(name: str | None, file: Path, pictures: Path) -> Path:
    """Return the picture that the file names, else the one with its own name."""
    named = pictures / Path(name or file.stem).name
    if named.is_file():
        return named
    beside = (pictures / f"{file.stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in beside if path.is_file()), named)


def _number(text: str | None) -> int:
    try:
        return int(float(text or 0))
    except ValueError:
        return 0
