"""Rows of an npz archive: arrays by name, whose first axis is the samples. Read row by row, compressed or not."""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._reading import ARRAYS_BYTES
from edgekit._record import digest_of, digest_of_file
from edgekit.data.samples import DataRef, Sample
from edgekit.data.split import choose_split
from edgekit.errors import UsageError, listed, nearest

if TYPE_CHECKING:
    import numpy as np

ROW_BYTES = 1 << 29
"""The most bytes of one sample: a row is in memory several times while it is prepared and run."""

LABELS = ("label", "labels", "y", "target", "targets")

_SPLIT = re.compile(r"(train|val|valid|validation|dev|test)_(\w+)")
"""MedMNIST's names: `train_images`, `train_labels`, ..."""


class Npz:
    """The samples of one archive. Arrays without an axis are the same for every sample."""

    kind = "npz"

    def __init__(self, path: Path, data: DataRef) -> None:
        self.source = str(path)
        self._path = path
        self._digest: str | None = None
        try:
            with contextlib.ExitStack() as opened:
                archive = opened.enter_context(zipfile.ZipFile(path))
                names = sorted(archive.namelist())
                members = {name.removesuffix(".npy"): _Member(archive, name, path, opened) for name in names}
                opened.pop_all()
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise UsageError(
                f"'{path}' is not a complete npz archive: {error}.", hint="write it again with numpy.savez"
            ) from error
        if not members:
            raise UsageError(f"'{path}' holds no arrays.", hint="write arrays by input name with numpy.savez")
        self._members, self.notes = _of_split(members, data, path)
        self._label = self._find_label(data)
        self._count = self._length()
        self.labels: Sequence[Any] | None = None
        if self._label is not None:
            label = self._members.pop(self._label)
            self.labels = [_scalar(label.row(index)) for index in range(self._count)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        fields = {name: _text(member.row(index)) for name, member in self._members.items()}
        text = tuple(name for name, value in fields.items() if isinstance(value, str))
        return Sample(fields, None if self.labels is None else self.labels[index], text)

    def digest(self, indexes: Sequence[int] | None) -> str:
        if self._digest is None:
            self._digest = digest_of_file(self._path)
        return digest_of([self._digest, sorted(self._members), self._label, indexes])

    def _find_label(self, data: DataRef) -> str | None:
        asked = data.label_column
        if asked is not None:
            if asked not in self._members:
                known = listed(self._members)
                raise UsageError(
                    f"'{self.source}' has no array '{asked}'.{nearest(asked, self._members)}",
                    hint=f"its arrays: {known}",
                )
            return asked
        if len(self._members) < 2:
            return None
        lower = {name.lower(): name for name in self._members if name not in data.inputs}
        return next((lower[name] for name in LABELS if name in lower), None)

    def _length(self) -> int:
        lengths = {name: member.shape[0] for name, member in self._members.items() if member.shape}
        if not lengths or (self._label is not None and len(lengths) == 1 and self._label in lengths):
            raise UsageError(
                f"'{self.source}' has no array with an axis of samples.", hint="stack the samples on a first axis"
            )
        if len(set(lengths.values())) > 1:
            shapes = ", ".join(f"{name}{list(member.shape)}" for name, member in self._members.items())
            raise UsageError(
                f"the arrays of '{self.source}' differ in their first axis, which counts the samples: {shapes}.",
                hint="stack each array on a new first axis, one entry a sample: array[None] for a single one",
            )
        count = next(iter(lengths.values()))
        if count == 0:
            raise UsageError(
                f"'{self.source}' holds no samples: its arrays have length 0.",
                hint="write at least one sample into each array",
            )
        return count


class _Member:
    """An array in the archive, read one row at a time."""

    def __init__(self, archive: zipfile.ZipFile, name: str, path: Path, opened: contextlib.ExitStack) -> None:
        from numpy.lib import format as npy

        self._archive = archive
        self._name = name
        self._file = opened.enter_context(archive.open(name))
        try:
            version = npy.read_magic(self._file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, fortran, self.dtype = read(self._file)
        except ValueError as error:
            raise UsageError(
                f"'{name}' in '{path}' is not an array: {error}.", hint="write it with numpy.savez"
            ) from error
        if self.dtype.hasobject:
            raise UsageError(
                f"the array '{name.removesuffix('.npy')}' in '{path}' holds Python objects: unpickling can run code.",
                hint="save it with a plain type; arrays of differing length need padding, or use parquet or jsonl",
            )
        self._start = self._file.tell()
        count = self.shape[0] if self.shape else 1
        self._bytes = 0 if not count else self.dtype.itemsize * _product(self.shape[1:])
        if self._bytes > ROW_BYTES:
            raise UsageError(
                f"one sample of the array '{name.removesuffix('.npy')}' in '{path}' takes {self._bytes:,} bytes, and "
                f"at most {ROW_BYTES:,} are read.",
                hint="the first axis counts the samples: stack them on it, as array[None] for a single one",
            )
        if fortran and self._bytes * count > ARRAYS_BYTES:
            raise UsageError(
                f"the array '{name.removesuffix('.npy')}' in '{path}' is stored by columns and takes "
                f"{self._bytes * count:,} bytes, and at most {ARRAYS_BYTES:,} are read of such.",
                hint="write it by rows: numpy.savez(path, x=numpy.ascontiguousarray(x))",
            )
        # The rows of a Fortran-ordered array are not contiguous in the file, and a scalar has none: both are read
        # whole.
        self._whole = self._read_whole() if fortran or not self.shape else None

    def row(self, index: int) -> np.ndarray:
        import numpy as np

        if self._whole is not None:
            return np.asarray(self._whole[index] if self.shape else self._whole)
        self._file.seek(self._start + index * self._bytes)
        data = self._file.read(self._bytes)
        if len(data) < self._bytes:
            raise UsageError(
                f"the array '{self._name}' ends before sample {index}: the archive is truncated.",
                hint="copy it again, or write it again with numpy.savez",
            )
        return np.array(np.frombuffer(data, self.dtype).reshape(self.shape[1:]))

    def _read_whole(self) -> np.ndarray:
        import numpy as np

        with self._archive.open(self._name) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _of_split(members: dict[str, _Member], data: DataRef, path: Path) -> tuple[dict[str, _Member], tuple[str, ...]]:
    matches = {name: _SPLIT.fullmatch(name) for name in members}
    if not all(matches.values()):
        if data.split is not None:
            raise UsageError(
                f"'{path}' has no splits: its arrays are {', '.join(members)}.",
                hint="leave out the split, or name the arrays train_images, train_labels, test_images, ...",
            )
        return members, ()
    names = dict.fromkeys(match[1] for match in matches.values() if match)
    chosen, notes = choose_split(list(names), data.split, str(path), train=data.train)
    return {match[2]: members[name] for name, match in matches.items() if match and match[1] == chosen}, notes


def _scalar(value: np.ndarray) -> Any:
    return value.reshape(()).item() if value.size == 1 else value


def _text(value: np.ndarray) -> Any:
    return str(value) if value.dtype.kind == "U" and value.ndim == 0 else value


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
