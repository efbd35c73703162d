"""Rows of parquet files and of folders written by `datasets.save_to_disk`, read with pyarrow alone, in small
batches.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from edgekit._record import digest_of, digest_of_file
from edgekit.data.columns import HEAD_ROWS, find_columns
from edgekit.data.samples import DataRef, Sample
from edgekit.data.split import choose_split
from edgekit.data.table import label_of, sample_of
from edgekit.errors import EnvironmentFault, UsageError

BATCH_ROWS = 64
"""Number of rows of a parquet file that are decoded together: pictures make rows large."""


class Columnar:
    """The rows of a columnar table in one or more files."""

    def __init__(
        self, kind: str, path: Path, files: Sequence[Path], data: DataRef, features: Mapping[str, Any]
    ) -> None:
        self.kind = kind
        self.source = str(path)
        self._folder = path if path.is_dir() else path.parent
        self._paths = tuple(files)
        pieces: list[_Piece] = [_parquet(file) if kind == "parquet" else _arrow(file) for file in files]
        self._features = features or next((piece.features for piece in pieces if piece.features), {})
        self._pieces = [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(len(piece) for piece in self._pieces))
        if not self._ends:
            raise UsageError(f"'{self.source}' has no rows.", hint="give a table with at least one sample")
        names = self._pieces[0].names
        head = [self._row(index) for index in range(min(HEAD_ROWS, self._ends[-1]))]
        self._columns = find_columns(names, head, data, self.source)
        self.notes = self._columns.notes
        self.labels: Sequence[Any] | None = self._read_labels()
        self._digest: str | None = None

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        row = {name: _picture(value) for name, value in self._row(index).items()}
        label = self._columns.label
        if label is not None:
            row[label] = self._class_name(row.get(label))
        return sample_of(row, self._columns, self._folder)

    def digest(self, indexes: Sequence[int] | None) -> str:
        if self._digest is None:
            self._digest = digest_of([digest_of_file(path) for path in self._paths])
        return digest_of([self._digest, self._columns.text, self._columns.label, self._features, indexes])

    def _row(self, index: int) -> dict[str, Any]:
        piece = bisect.bisect_right(self._ends, index)
        return self._pieces[piece].row(index - (self._ends[piece - 1] if piece else 0))

    def _read_labels(self) -> list[Any] | None:
        if self._columns.label is None:
            return None
        name = self._columns.label
        values = (self._class_name(value) for piece in self._pieces for value in piece.column(name))
        labels = [label_of({name: value}, self._columns, self._folder) for value in values]
        return labels if any(label is not None for label in labels) else None

    def _class_name(self, value: Any) -> Any:
        """Return the name of a class number where the file has names, else the value; -1, the Hub's "not labelled", is
        None.
        """
        if isinstance(value, list):
            return [self._class_name(each) for each in value]
        names = _class_names(self._features.get(self._columns.label or ""))
        if not names or not isinstance(value, int):
            return value
        if value == -1:
            return None
        if not 0 <= value < len(names):
            raise UsageError(
                f"'{self.source}' has the label {value}, but {len(names)} classes.",
                hint=f"give labels from 0 to {len(names) - 1}, or -1 for none",
            )
        return names[value]


def _class_names(feature: Any) -> Sequence[str] | None:
    """Return the names of a column of classes, or of lists of classes in each of the forms that datasets has written;
    None for another column.
    """
    if isinstance(feature, list) and len(feature) == 1:
        return _class_names(feature[0])
    if not isinstance(feature, Mapping):
        return None
    if feature.get("_type") == "ClassLabel":
        return feature.get("names")
    return _class_names(feature["feature"]) if "feature" in feature else None


def read_parquet(path: Path, files: Sequence[Path], data: DataRef) -> Columnar:
    """Return the rows of one parquet file, or of the shards of one table."""
    return Columnar("parquet", path, files, data, {})


def read_dataset(folder: Path, data: DataRef) -> Columnar:
    """Return the rows of a folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    Raises UsageError for an unknown split, an index mapping, a missing file.
    """
    notes: tuple[str, ...] = ()
    top = folder
    if (folder / "dataset_dict.json").is_file():
        splits = [str(name) for name in _json(folder / "dataset_dict.json").get("splits", [])]
        chosen, notes = choose_split(splits, data.split, str(folder), train=data.train)
        folder = folder / chosen
    elif data.split is not None:
        own = _json(folder / "state.json").get("_split")
        if own != data.split:
            raise UsageError(f"'{folder}' has no split '{data.split}': it is one data set.", hint="leave out the split")
    state = _json(folder / "state.json")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise UsageError(
            f"'{folder}' was saved with an index mapping by an old version of datasets, which is not read.",
            hint="load it with datasets and save it again with save_to_disk",
        )
    files = [folder / str(entry["filename"]) for entry in state.get("_data_files", [])]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise UsageError(
            f"'{folder}' is incomplete: {', '.join(missing) or 'it names no data files'} missing.",
            hint="copy the folder again, or save the data set again with save_to_disk",
        )
    features = _json(folder / "dataset_info.json").get("features") or {}
    rows = Columnar("datasets", folder, files, data, features)
    rows.source = str(top) if folder == top else f"{top} ({folder.name})"
    rows.notes = (*rows.notes, *notes)
    return rows


class _Piece(Protocol):
    names: tuple[str, ...]
    features: Mapping[str, Any]

    def __len__(self) -> int: ...
    def row(self, index: int) -> dict[str, Any]: ...
    def column(self, name: str) -> Iterator[Any]: ...


class _Parquet:
    """A cursor over one file: rows read in ascending order are decoded once, a step back decodes the row group
    again.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.names = tuple(file.schema_arrow.names)
        self.features = _features(file.schema_arrow)
        meta = file.metadata
        self._ends = list(accumulate(meta.row_group(group).num_rows for group in range(meta.num_row_groups)))
        self._group = -1
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._start = 0

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, index: int) -> dict[str, Any]:
        group = bisect.bisect_right(self._ends, index)
        if group != self._group or index < self._start:
            self._group = group
            self._start = self._ends[group - 1] if group else 0
            self._batches = self._file.iter_batches(BATCH_ROWS, row_groups=[group])
            self._batch = next(self._batches)
        while index >= self._start + len(self._batch):
            self._start += len(self._batch)
            self._batch = next(self._batches)
        return dict(self._batch.slice(index - self._start, 1).to_pylist()[0])

    def column(self, name: str) -> Iterator[Any]:
        for batch in self._file.iter_batches(columns=[name]):
            yield from batch.column(0).to_pylist()


class _Arrow:
    """A stream file, mapped into memory: its pages are in the system's cache and not the process's own memory."""

    def __init__(self, batches: Sequence[Any], schema: Any) -> None:
        self._batches = batches
        self.names = tuple(schema.names)
        self.features = _features(schema)
        self._ends = list(accumulate(len(batch) for batch in batches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, index: int) -> dict[str, Any]:
        number = bisect.bisect_right(self._ends, index)
        start = self._ends[number - 1] if number else 0
        return dict(self._batches[number].slice(index - start, 1).to_pylist()[0])

    def column(self, name: str) -> Iterator[Any]:
        for batch in self._batches:
            yield from batch.column(self.names.index(name)).to_pylist()


def _parquet(path: Path) -> _Piece:
    arrow = _pyarrow()
    from pyarrow import parquet

    try:
        # By default pyarrow reads the columns of a whole row group in advance, and a file may be one row group.
        return _Parquet(parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False))
    except (arrow.ArrowException, OSError) as error:
        raise UsageError(
            f"'{path}' is not a complete parquet file: {error}.", hint="copy or download it again"
        ) from error


def _arrow(path: Path) -> _Piece:
    arrow = _pyarrow()
    try:
        reader = arrow.ipc.open_stream(arrow.memory_map(str(path)))
        return _Arrow(list(reader), reader.schema)
    except (arrow.ArrowException, OSError) as error:
        raise UsageError(
            f"'{path}' is not a complete Arrow stream: {error}.", hint="save the data set again"
        ) from error


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise EnvironmentFault(
            "reading parquet and datasets folders needs pyarrow, which is not installed.", hint="pip install pyarrow"
        ) from error
    return pyarrow


def _features(schema: Any) -> Mapping[str, Any]:
    """Return the features that `datasets` stores in the schema's metadata, which name the classes."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info["info"]["features"]
        return features if isinstance(features, dict) else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _picture(value: Any) -> Any:
    """Return the bytes or the path of a picture that `datasets` stored as a struct of both."""
    if isinstance(value, dict) and set(value) == {"bytes", "path"}:
        return value["bytes"] if value["bytes"] is not None else value["path"]
    return value


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(
            f"'{path.parent}' is not a complete data set: '{path.name}' is missing.",
            hint="copy the folder again, or save the data set again with save_to_disk",
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"cannot read '{path}': {error}.",
            hint="copy the folder again, or save the data set again with save_to_disk",
        ) from error
