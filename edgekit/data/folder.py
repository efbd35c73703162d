"""Rows of a folder of pictures or sounds: one subfolder for each class, or flat and unlabelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit._record import digest_of, digest_of_file
from edgekit.data.picture import SUFFIXES
from edgekit.data.samples import Sample
from edgekit.data.sound import SOUNDS


class ImageFolder:
    """The pictures below a folder, sorted; the label is the name of the top-level subfolder."""

    kind = "image folder"
    field = "image"
    suffixes: tuple[str, ...] = SUFFIXES

    def __init__(self, folder: Path, notes: tuple[str, ...] = ()) -> None:
        self.source = str(folder)
        self._folder = folder
        self._digests: dict[int, str] = {}
        classes = [(child.name, tuple(files(child, self.suffixes))) for child in _children(folder) if child.is_dir()]
        flat = [child for child in _children(folder) if _is_one(child, self.suffixes)]
        labelled = [(label, path) for label, paths in classes for path in paths]
        self.labels: Sequence[Any] | None
        if labelled:
            self._paths = [path for _, path in labelled]
            self.labels = [label for label, _ in labelled]
            if flat:
                notes = (*notes, f"{len(flat)} {self.field}s outside the class folders of '{folder}' are left out")
            if empty := [label for label, paths in classes if not paths]:
                notes = (*notes, f"folders without {self.field}s: {', '.join(empty)}")
        else:
            self._paths = flat
            self.labels = None
        self.notes = notes

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Sample:
        return Sample({self.field: self._paths[index]}, None if self.labels is None else self.labels[index])

    def digest(self, indexes: Sequence[int] | None) -> str:
        chosen = range(len(self)) if indexes is None else indexes
        return digest_of([[self._name(index), self._file_digest(index)] for index in chosen])

    def _name(self, index: int) -> str:
        return self._paths[index].relative_to(self._folder).as_posix()

    def _file_digest(self, index: int) -> str:
        if index not in self._digests:
            self._digests[index] = digest_of_file(self._paths[index])
        return self._digests[index]


class SoundFolder(ImageFolder):
    """The sounds below a folder, in the same way."""

    kind = "sound folder"
    field = "sound"
    suffixes = SOUNDS


class OneImage:
    """A single picture, as a data set of one sample."""

    kind = "image"
    field = "image"
    labels: Sequence[Any] | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        self._path = path

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample({self.field: self._path})

    def digest(self, indexes: Sequence[int] | None) -> str:
        return digest_of([digest_of_file(self._path), indexes])


class OneSound(OneImage):
    """A single sound."""

    kind = field = "sound"


def is_picture(path: Path) -> bool:
    return _is_one(path, SUFFIXES)


def _is_one(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and path.is_file()


def files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Yield the files of these kinds below `folder` at any depth, sorted, without hidden ones."""
    for child in _children(folder):
        if child.is_dir():
            yield from files(child, suffixes)
        elif _is_one(child, suffixes):
            yield child


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__")))
