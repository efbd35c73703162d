"""Rows of SQuAD's JSON files: articles of paragraphs, each with a context, questions and their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit._reading import read_json
from edgekit._record import digest_of, digest_of_file
from edgekit.data.samples import DataRef, Sample
from edgekit.errors import UsageError

HEAD_BYTES = 1 << 16

_FORM = "a list `data` of articles, each with `paragraphs` of `context` and `qas`"


def is_squad(path: Path) -> bool:
    """Return whether the head of a file is that of SQuAD's articles."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return path.suffix.lower() == ".json" and b'"paragraphs"' in head


class Squad:
    """The questions of one file, each with its context; the label is the list of right answers, empty for none."""

    kind = "SQuAD file"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, data: DataRef) -> None:
        if data.text_columns or data.label_column:
            option = "--text-column" if data.text_columns else "--label-column"
            raise UsageError(
                f"{option} would have no effect: SQuAD's files name question, context and answers.", hint="leave it out"
            )
        self.source = str(path)
        self._path = path
        try:
            self._rows = list(_rows(read_json(path, "the data")))
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"'{path}' is not a file of SQuAD: it needs {_FORM}.", hint="compare it with train-v1.1.json of SQuAD"
            ) from error
        if not self._rows:
            raise UsageError(f"'{path}' has no questions.", hint=f"give {_FORM}")
        self.labels: Sequence[Any] | None = [answers for _, _, answers in self._rows]
        if all(answers is None for answers in self.labels):
            self.labels = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        question, context, answers = self._rows[index]
        return Sample({"question": question, "context": context}, answers, ("question", "context"))

    def digest(self, indexes: Sequence[int] | None) -> str:
        return digest_of([digest_of_file(self._path), indexes])


def _rows(articles: Any) -> Iterator[tuple[str, str, list[str] | None]]:
    """Yield the question, the context and the answers' texts; None for a question that the file does not answer."""
    for article in articles["data"]:
        for paragraph in article["paragraphs"]:
            for row in paragraph["qas"]:
                yield str(row["question"]), str(paragraph["context"]), _answers(row)


def _answers(row: Mapping[str, Any]) -> list[str] | None:
    if "answers" not in row and not row.get("is_impossible"):
        return None
    return [str(answer["text"]) for answer in row.get("answers") or ()]
