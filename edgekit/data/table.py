"""Rows of csv, tsv and jsonl files: an index of offsets is in memory, the rows stay on disk."""

from __future__ import annotations

import csv
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from edgekit._record import digest_of, digest_of_file
from edgekit.data.columns import HEAD_ROWS, Columns, find_columns, has_header, is_number
from edgekit.data.encoding import BOM, decode, into_copy
from edgekit.data.masks import MASK
from edgekit.data.quotes import FIELD_LIMIT, allow_long_fields, longest
from edgekit.data.samples import DataRef, Sample
from edgekit.errors import UsageError

MOST_COLUMNS = 10_000
"""Wider tables are arrays: each name would be looked up in each row."""


class Table:
    """The rows of one text table."""

    def __init__(self, path: Path, data: DataRef) -> None:
        self.source = str(path)
        self.kind = path.suffix.lower().lstrip(".")
        self._path = path
        self._format: _Delimited | _JsonLines = (
            _JsonLines(path, data) if self.kind in ("jsonl", "ndjson") else _Delimited(path, data)
        )
        self._columns = self._format.columns
        self._offsets = array("Q")
        self.labels: Sequence[Any] | None = self._index()
        self._options = [self._columns.text, self._columns.label]
        self.notes: tuple[str, ...] = self._columns.notes
        self._file: BinaryIO | None = None
        self._digest: str | None = None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Sample:
        if self._file is None:
            self._file = self._path.open("rb")
        start, end = self._offsets[index], self._offsets[index + 1]
        self._file.seek(start)
        row = self._format.parse(self._file.read(end - start))
        return sample_of(row, self._columns, self._path.parent)

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()  # type: ignore[union-attr]

    def digest(self, indexes: Sequence[int] | None) -> str:
        if self._digest is None:
            self._digest = digest_of_file(self._path)
        return digest_of([self._digest, self._options, indexes])

    def _index(self) -> list[Any] | None:
        labels: list[Any] = []
        end = 0
        seen = False
        for start, stop, row in self._format.rows():
            end = stop
            self._offsets.append(start)
            value = label_of(row, self._columns, self._path.parent)
            seen = seen or value is not None
            labels.append(value)
        self._offsets.append(end)
        if not labels:
            raise UsageError(f"'{self.source}' has no rows.", hint="give a table with at least one sample")
        return labels if seen else None


def sample_of(row: Mapping[str, Any], columns: Columns, folder: Path) -> Sample:
    """Return the Sample of a row: its label separate from the fields, paths of pictures relative to `folder`."""
    fields = {name: value for name, value in row.items() if name != columns.label}
    for name in columns.pictures:
        if isinstance(fields.get(name), str):
            fields[name] = folder / fields[name]
    return Sample(fields, label_of(row, columns, folder), columns.text)


def label_of(row: Mapping[str, Any], columns: Columns, folder: Path) -> Any:
    """Return the label of a row, None for none; a mask with its path relative to `folder`."""
    label = row.get(columns.label) if columns.label is not None else None
    if label is None or not columns.masked:
        return label
    return {MASK: folder / label if isinstance(label, str) else _bytes(label)}


def _bytes(picture: Any) -> Any:
    """Return the bytes of a picture as datasets stores it, else the picture."""
    return picture["bytes"] if isinstance(picture, Mapping) and picture.get("bytes") is not None else picture


class _Lines:
    """An iterator over a file's lines as text, with the byte offset and the number of the last line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.number = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            for line in file:
                self.offset += len(line)
                self.number += 1
                yield decode(line, self.path, self.number)
        self.ended = True


class _Delimited:
    def __init__(self, path: Path, data: DataRef) -> None:
        self._path = path
        allow_long_fields()
        first = next(iter(_Lines(path)), "")
        self._dialect: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        # text/tab-separated-values (IANA) has no quotes; the csv files of a European Excel have semicolons.
        if path.suffix.lower() != ".tsv":
            self._dialect = {"delimiter": ";" if ";" in first and "," not in first else ","}
        head = [row for _, _, _, row in islice(self._raw(), 1)]
        if head and len(head[0]) <= MOST_COLUMNS:
            head = [row for _, _, _, row in islice(self._raw(), HEAD_ROWS)]
        if not head:
            raise UsageError(f"'{path}' is empty.", hint="give a table with at least one sample")
        if len(head[0]) > MOST_COLUMNS:
            raise UsageError(
                f"'{path}' has {len(head[0]):,} columns, and at most {MOST_COLUMNS:,} are read.",
                hint="give the numbers as one array (npz): numpy.savez('data.npz', x=rows, y=labels)",
            )
        self._header = has_header(head, data)
        names = [name.strip() for name in head[0]] if self._header else [f"c{index}" for index in range(len(head[0]))]
        if len(set(names)) < len(names):
            twice = min(name for name, count in Counter(names).items() if count > 1)
            raise UsageError(f"'{path}' has two columns of the name '{twice}'.", hint="rename one")
        body = head[1:] if self._header else head
        if not body:
            raise UsageError(f"'{path}' has a header and no rows.", hint="give a table with at least one sample")
        self._names = names
        self._numeric = {
            name
            for index, name in enumerate(names)
            if any(row[index : index + 1] != [""] for row in body)
            and all(is_number(row[index]) for row in body if index < len(row) and row[index])
        }
        rows = [self._typed(row) for row in body]
        self.columns = find_columns(names, rows, data, str(path), named=self._header)

    def rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        for index, (start, end, number, row) in enumerate(self._raw()):
            if index == 0 and self._header:
                continue
            if len(row) != len(self._names):
                raise self._ragged(start, end, number, row)
            yield start, end, self._typed(row)

    def parse(self, row: bytes) -> dict[str, Any]:
        # Not splitlines(): it also splits at characters that may be part of a text, such as U+2028.
        lines = (line + "\n" for line in row.removeprefix(BOM).decode().split("\n"))
        return self._typed(next(csv.reader(lines, **self._dialect)))

    def _raw(self) -> Iterator[tuple[int, int, int, list[str]]]:
        """Yield (start, end, last line's number, cells) of every row that is not blank."""
        lines = _Lines(self._path)
        reader = csv.reader(iter(lines), **self._dialect)
        while True:
            start, first = lines.offset, lines.number + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._unreadable(start, lines, first, error) from error
            if lines.ended:  # the reader asked for another line: the row is not complete
                raise self._open_quote(start, lines.offset, first, "the end of the file")
            if row:
                yield start, lines.offset, lines.number, row

    def _ragged(self, start: int, end: int, number: int, row: Sequence[str]) -> UsageError:
        """Return the error of a row, ending in line `number`, with another number of columns than the first."""
        text = self._text(start, end)
        first = number - text.rstrip("\n").count("\n")
        quote = longest(text, self._dialect["delimiter"]) if self._dialect.get("quoting") is None else None
        if quote is not None and quote.closes is not None:
            return UsageError(
                f"'{self._path}' lines {first} to {number} are one row of {len(row)} columns, the first row has "
                f"{len(self._names)}: a quote opens in line {first + quote.opens} and closes in line "
                f"{first + quote.closes}.",
                hint=f'close the quote in line {first + quote.opens}; write "" for a quote that is part of the text',
            )
        return UsageError(
            f"'{self._path}' line {number} has {len(row)} columns, the first row has {len(self._names)}.",
            hint="correct the row; a csv field with a comma or a line break needs quotes",
        )

    def _unreadable(self, start: int, lines: _Lines, first: int, error: csv.Error) -> UsageError:
        if "field limit" in str(error):
            return self._open_quote(start, lines.offset, first, f"the next {FIELD_LIMIT:,} characters")
        if "new-line character" in str(error):
            return UsageError(
                f"'{self._path}' line {lines.number} has a carriage return inside a field without quotes.",
                hint="write its line breaks as newlines, and give the copy: "
                + into_copy(self._path, r"tr '\r' '\n' <"),
            )
        return UsageError(
            f"'{self._path}' line {lines.number} cannot be read: {error}.",
            hint="correct the line, or write the table again as jsonl or parquet",
        )

    def _open_quote(self, start: int, end: int, first: int, until: str) -> UsageError:
        quote = longest(self._text(start, end), self._dialect["delimiter"])
        if quote is None:
            return UsageError(
                f"'{self._path}' line {first} has a field of more than {FIELD_LIMIT:,} characters.",
                hint="divide the document into several rows",
            )
        number = first + quote.opens
        return UsageError(
            f"'{self._path}' line {number}: a quote opens there and does not close before {until}.",
            hint=f'close the quote in line {number}; write "" for a quote that is part of the text',
        )

    def _text(self, start: int, end: int) -> str:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(end - start).removeprefix(BOM).decode()

    def _typed(self, row: Sequence[str]) -> dict[str, Any]:
        return {
            name: _number(cell) if name in self._numeric else (cell or None)
            for name, cell in zip(self._names, row, strict=False)
        }


def _number(cell: str) -> int | float | str | None:
    cell = cell.strip()
    if not is_number(cell):
        return cell or None
    return int(cell) if cell.lstrip("+-").isdigit() else float(cell)


class _JsonLines:
    def __init__(self, path: Path, data: DataRef) -> None:
        self._path = path
        head = [row for _, _, row in islice(self.rows(), HEAD_ROWS)]
        if not head:
            raise UsageError(f"'{path}' is empty.", hint="give a file with one JSON object a line")
        names = list(dict.fromkeys(name for row in head for name in row))
        self.columns = find_columns(names, head, data, str(path))

    def rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        lines = _Lines(self._path)
        start = 0
        for line in lines:
            if line.strip():
                yield start, lines.offset, self._object(line, lines.number)
            start = lines.offset

    def parse(self, row: bytes) -> dict[str, Any]:
        return dict(json.loads(row.removeprefix(BOM).partition(b"\n")[0]))

    def _object(self, line: str, number: int) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise UsageError(
                f"'{self._path}' line {number} is not JSON: {reason}.",
                hint='write each line as {"text": "...", "label": ...}',
            ) from error
        if not isinstance(value, dict):
            raise UsageError(
                f"'{self._path}' line {number} is not a JSON object.",
                hint='write each line as {"text": "...", "label": ...}',
            )
        return value
