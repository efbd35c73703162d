"""The roles of a table's columns: text, pictures, the label; and whether the first row names them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.data.picture import SUFFIXES
from edgekit.data.samples import DataRef
from edgekit.data.sound import SOUNDS
from edgekit.errors import UsageError, nearest

HEAD_ROWS = 200
"""Number of rows that are examined."""

LEAST_ROWS = 6
"""Fewer rows do not show which words a column repeats."""

NAME = re.compile(r"[A-Za-z_][\w .-]{0,40}")
"""The form of a column's name."""

LABELS = ("label", "labels", "class", "target", "score", "y", "category", "sentiment", "stars", "rating", "output")
"""Names of label columns, the most reliable first; case does not matter."""

TRANSCRIPTS = ("transcription", "transcript", "caption", "text", "sentence")
"""Names of the label column beside pictures or sounds, where it is what they say or show."""

WORDS = ("tokens", "words")
"""Names of columns that hold a list of words."""

TAGS = ("ner_tags", "tags", "labels", "pos_tags", "chunk_tags")
"""Names of columns that hold a tag for each of those words, the most reliable first."""

FILE_COLUMNS = ("image", "img", "picture", "path", "file", "filename", "file_name", "image_path", "audio")
"""Names of columns of files, which show that a first row names columns."""

MASKS = ("mask", "masks", "annotation", "label", "segmentation", "segmentation_mask")
"""Names of the label column beside pictures, where it holds pictures too: a mask for each."""

ANSWERS = ("answers", "answer")
"""Names of the label column beside a question and a context."""

LABEL_ENDING = re.compile(r"[_. -](label|class|target|score)$")

TEXTS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
    ("query", "passage"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text",),
    ("sentence",),
    ("content",),
    ("review",),
    ("document",),
    ("question",),
    ("query",),
    ("title",),
)
"""Names of text columns and of pairs, the most reliable first: GLUE's names and the usual ones."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Columns:
    """The role of each column; `pictures` are those of files, sounds too."""

    names: tuple[str, ...]
    text: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    label: str | None = None
    unread: tuple[str, ...] = ()
    """Columns of sentences beside those that were chosen as the text."""
    masked: bool = False
    """Whether the label is a mask: a picture in a file, or its bytes."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes on what a reader may expect to be used and is not: a label column, other columns of text."""
        notes = []
        taken = {*self.text, *self.pictures, *self.unread}
        others = [name for name in self.names if name not in taken and name.lower() not in ("id", "idx", "index")]
        if self.label is None and others and (self.text or self.pictures):
            notes.append(
                f"no label column was recognised (there are {', '.join(others[:5])}): name it with --label-column"
            )
        if self.unread:
            read, columns = ", ".join(self.text), [*self.text, *self.unread]
            options = " ".join(f"--text-column {shlex.quote(name)}" for name in columns[:2])
            notes.append(
                f"the text is read from the column {read} alone, and {', '.join(self.unread)} has sentences too: "
                f"to read a pair give {options}"
            )
        return tuple(notes)


def is_number(text: str) -> bool:
    return NUMBER.fullmatch(text.strip()) is not None


def has_header(rows: Sequence[Sequence[str]], data: DataRef) -> bool:
    """Return whether the first row names the columns: because it has a name that the user gave or a well-known one,
    words above numbers, or a word above a column of a few other words.
    """
    first = [cell.strip() for cell in rows[0]]
    asked = {*data.text_columns, *filter(None, [data.label_column])}
    known = {*LABELS, *MASKS, *FILE_COLUMNS, *(name for names in TEXTS for name in names)}
    if asked & set(first):
        return True
    if any(is_number(cell) or not cell for cell in first):
        return False
    if any(cell.lower() in known for cell in first):
        return True
    if len(set(first)) < len(first):
        return False
    below = [[row[index].strip() for row in rows[1:] if index < len(row)] for index in range(len(first))]
    if any(map(_numeric, below)):
        return True
    return all(map(NAME.fullmatch, first)) and any(map(_heads_labels, first, below))


def _heads_labels(name: str, below: Sequence[str]) -> bool:
    """Return whether a column holds few different words, each several times, and `name` is not one of them: the column
    of a label.
    """
    distinct = set(below)
    return len(below) >= LEAST_ROWS and 2 * len(distinct) <= len(below) and name not in distinct


def find_columns(
    names: Sequence[str], head: Sequence[Mapping[str, Any]], data: DataRef, where: str, *, named: bool = True
) -> Columns:
    """Return the text, file and label columns: those that the user names, else chosen by name, then by content.

    `named` is False for a table whose first row is data. Raises UsageError for a missing column, and for a table
    without any column that a model could be fed from.
    """
    for asked in (*data.text_columns, *filter(None, [data.label_column])):
        if asked not in names:
            raise UsageError(
                f"'{where}' has no column '{asked}'.{nearest(asked, names)}", hint=f"its columns: {', '.join(names)}"
            )
    values = {name: [row.get(name) for row in head if row.get(name) not in (None, "")] for name in names}
    pictures = tuple(name for name in names if name != data.label_column and _pictures(values[name]))
    words = [
        name
        for name in names
        if name not in pictures and values[name] and all(isinstance(v, str) for v in values[name])
    ]
    label = data.label_column or _mask(pictures) or _tags(values) or _answers(names)
    label = label or _label(names, values, words, named)
    if label is None and pictures and "input_ids" not in data.inputs:
        lower = {name.lower(): name for name in reversed(words)}
        label = next((lower[known] for known in TRANSCRIPTS if known in lower), None)
    texts = [name for name in words if name != label]
    text = data.text_columns or _texts(texts, values)
    unread = () if data.text_columns else tuple(n for n in texts if n not in text and _sentences(values[n]))
    others = [name for name in names if name != label and name not in words and values[name]]
    if not text and not pictures and not others:
        raise UsageError(
            f"'{where}' has no column to feed a model from.",
            hint=f"its columns: {', '.join(names) or 'none'}; name those that hold the text with --text-column",
        )
    masked = label is not None and _pictures(values[label])
    pictures = tuple(name for name in pictures if name != label)
    return Columns(tuple(names), tuple(text), pictures, label, unread, masked)


def _label(names: Sequence[str], values: Mapping[str, list[Any]], words: Sequence[str], named: bool) -> str | None:
    if named:
        lower = {name.lower(): name for name in reversed(names)}
        for known in LABELS:
            if known in lower and len(names) > 1:
                return lower[known]
        endings = [name for name in names if LABEL_ENDING.search(name.lower())]
        return endings[-1] if endings and len(names) > 1 else None
    # Without names: in a table with text, the last column that is not text; or the one with few, repeated words.
    texts = [name for name in words if _sentences(values[name])]
    if not texts:
        return None
    rest = [name for name in names if name not in words]
    short = [name for name in words if name not in texts and len(set(values[name])) <= max(2, len(values[name]) // 2)]
    candidates = rest or short
    return candidates[-1] if candidates else None


def _mask(pictures: Sequence[str]) -> str | None:
    """Return the column of masks, where another has the pictures."""
    lower = {name.lower(): name for name in reversed(pictures)}
    return next((lower[name] for name in MASKS if name in lower), None) if len(pictures) > 1 else None


def _tags(values: Mapping[str, list[Any]]) -> str | None:
    """Return the column with tags of words, where another has the words."""
    lists = {name.lower(): name for name in reversed(list(values)) if values[name] and _lists(values[name])}
    if not any(name in lists for name in WORDS):
        return None
    return next((lists[name] for name in TAGS if name in lists), None)


def _answers(names: Sequence[str]) -> str | None:
    """Return the column with the answers, beside a question and a context."""
    lower = {name.lower(): name for name in reversed(names)}
    if not {"question", "context"} <= set(lower):
        return None
    return next((lower[name] for name in ANSWERS if name in lower), None)


def _lists(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1 for value in values)


def _texts(words: Sequence[str], values: Mapping[str, list[Any]]) -> tuple[str, ...]:
    lower = {name.lower(): name for name in words}
    for known in TEXTS:
        if all(name in lower for name in known):
            return tuple(lower[name] for name in known)
    sentences = tuple(name for name in words if _sentences(values[name]))
    return sentences or tuple(words)


def _sentences(values: Sequence[Any]) -> bool:
    return sum(" " in value.strip() for value in values) * 2 > len(values)


def _pictures(values: Sequence[Any]) -> bool:
    def is_picture(value: Any) -> bool:
        if isinstance(value, str):
            return value.lower().endswith((*SUFFIXES, *SOUNDS)) and "\n" not in value
        return isinstance(value, bytes) or (isinstance(value, Mapping) and set(value) == {"bytes", "path"})

    return bool(values) and all(map(is_picture, values))


def _numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return bool(filled) and all(map(is_number, filled))
