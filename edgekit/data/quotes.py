"""Where the quotes of a csv row open and close, for messages about one that closes too late or never."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

FIELD_LIMIT = 1 << 24
"""The most characters of a field: 16 million are a thousand pages, more are a quote that does not close."""


@dataclass(frozen=True)
class Quote:
    """A quoted field, by the lines of the row in which it opens and closes, the first being 0."""

    opens: int
    closes: int | None
    """None where it is open at the end of the text."""


def allow_long_fields() -> None:
    """Raise csv's limit on a field, 131,072 characters, to ours: documents are longer. csv keeps it for the process."""
    if csv.field_size_limit() < FIELD_LIMIT:
        csv.field_size_limit(FIELD_LIMIT)


def quotes(text: str, delimiter: str) -> list[Quote]:
    """Return the quoted fields of a row. A quote opens where a field begins; elsewhere it is a character, as in csv."""
    fields, opened, position = list[Quote](), -1, 0
    pattern = re.compile('"')
    while match := pattern.search(text, position):
        start, position = match.start(), match.end()
        if opened < 0:
            if start == 0 or text[start - 1] in (delimiter, "\n", "\r"):
                opened = start
        elif text[position : position + 1] == '"':
            position += 1  # a doubled quote is one character of the field
        else:
            fields.append(Quote(_line(text, opened), _line(text, start)))
            opened = -1
    if opened >= 0:
        fields.append(Quote(_line(text, opened), None))
    return fields


def longest(text: str, delimiter: str) -> Quote | None:
    """Return the quoted field of a row that covers the most lines; None where none goes beyond its line."""
    spanning = [field for field in quotes(text, delimiter) if field.closes != field.opens]
    return max(
        spanning, key=lambda field: len(text) if field.closes is None else field.closes - field.opens, default=None
    )


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position)
