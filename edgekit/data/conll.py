"""Rows of CoNLL files: a line holds a token and, in its last column, the token's tag; a line without a token ends the
sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgekit._record import digest_of, digest_of_file
from edgekit.data.encoding import decode
from edgekit.data.samples import DataRef, Sample
from edgekit.errors import UsageError

SUFFIXES = (".conll", ".bio", ".iob", ".iob2")

TOKENS = "tokens"
"""The field of a sample that holds its words, one string each."""

HEAD_LINES = 100
"""Lines that are examined where the file's name does not tell its kind."""

_TAG = re.compile(r"O|[BIESLUM]-\S+")
_DOCUMENT = "-DOCSTART-"


def is_conll(path: Path) -> bool:
    """Return whether a file holds tokens with tags, by its name or else by its first lines."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open(encoding="utf-8") as file:
            rows = [_columns(line) for line, _ in zip(file, range(HEAD_LINES), strict=False)]
    except (OSError, UnicodeDecodeError):
        return False
    tagged = [row for row in rows if row]
    return bool(tagged) and all(len(row) > 1 and _TAG.fullmatch(row[-1]) for row in tagged)


class Conll:
    """The sentences of one file, each with its tokens as a field and its tags as the label."""

    kind = "CoNLL file"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, data: DataRef) -> None:
        for option, asked in (("--text-column", data.text_columns), ("--label-column", data.label_column)):
            if asked:
                raise UsageError(
                    f"{option} would have no effect: a CoNLL file has the token first and the tag last.",
                    hint="leave it out, or write the sentences as jsonl with the fields tokens and tags",
                )
        self.source = str(path)
        self._path = path
        self._sentences = list(_sentences(path))
        if not self._sentences:
            raise UsageError(f"'{path}' has no tokens.", hint="write a token, a tab and its tag in each line")
        self.labels: Sequence[list[str]] | None = [[tag for _, tag in sentence] for sentence in self._sentences]

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, index: int) -> Sample:
        sentence = self._sentences[index]
        return Sample({TOKENS: [token for token, _ in sentence]}, [tag for _, tag in sentence])

    def digest(self, indexes: Sequence[int] | None) -> str:
        return digest_of([digest_of_file(self._path), indexes])


def _sentences(path: Path) -> Iterator[list[tuple[str, str]]]:
    """Yield each sentence, its tokens with their tags. Raises UsageError for a line of another form."""
    sentence: list[tuple[str, str]] = []
    width = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            columns = _columns(decode(line, path, number))
            if not columns or columns[0] == _DOCUMENT:
                if sentence:
                    yield sentence
                sentence = []
                continue
            width = width or len(columns)
            if len(columns) != width or width < 2:
                raise UsageError(
                    f"'{path}' line {number} has {len(columns)} columns, and {max(width, 2)} are expected: "
                    "a token, and last its tag.",
                    hint="correct the line; a line without a token ends a sentence",
                )
            sentence.append((columns[0], columns[-1]))
    if sentence:
        yield sentence


def _columns(line: str) -> list[str]:
    """Return the columns of a line, divided by tabs or else by spaces; none where it has no token."""
    line = line.rstrip("\r\n")
    columns = line.split("\t") if "\t" in line else line.split()
    return columns if columns and columns[0].strip() else []
