"""Samples from a reference: the kind of data that it names is recognised, and opened."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edgekit._reading import check_regular, guard
from edgekit.data.folder import ImageFolder, OneImage, OneSound, SoundFolder, files, is_picture
from edgekit.data.picture import SUFFIXES
from edgekit.data.samples import DataRef, Rows, Samples
from edgekit.data.sound import SOUNDS
from edgekit.data.split import choose_split, is_split, splits_among
from edgekit.errors import UsageError, nearest

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
FILES = (*TABLES, ".parquet", ".npz")

READABLE = (
    "a folder of images or sounds, folders images and masks, COCO's .json, YOLO's data.yaml or folder, a folder of "
    "Pascal VOC, .csv, .tsv, .jsonl, .parquet, .conll, .npz, a folder of datasets.save_to_disk, package.module:function"
)
"""What `load` reads, for messages and manuals."""

MOST_NAMED = 5
"""How many folders a message names."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load(data: DataRef | str) -> Samples:
    """Return the samples that a reference names.

    Raises UsageError for data that is missing, empty, damaged, of an unknown kind or without a usable column, and
    EnvironmentFault where the package that reads it is missing.
    """
    if isinstance(data, str):
        data = DataRef(data)
    check(data.ref)
    path = Path(data.ref).expanduser()
    if not path.exists():
        return Samples(_function(data))
    with guard(f"the data '{path}'", hint="copy it again, or write it again with the tool that made it"):
        return Samples(_folder(path, data) if path.is_dir() else _file(path, data))


def check(ref: str) -> None:
    """Raise UsageError where a reference names nothing that exists; a function is not called."""
    path = Path(ref).expanduser()
    if not path.exists() and not _FUNCTION.fullmatch(ref):
        raise _missing(ref, path)


def _missing(ref: str, path: Path) -> UsageError:
    if ref.startswith("hf:"):
        return UsageError(
            f"data is read from disk, not from the hub: '{ref}'.",
            hint="load it with datasets, save it with save_to_disk, and give that folder",
        )
    parent = path.parent
    if not parent.is_dir():
        return UsageError(
            f"the data '{ref}' does not exist: its folder '{parent}' is missing.", hint=f"give {READABLE}"
        )
    near = nearest(path.name, [child.name for child in parent.iterdir()])
    return UsageError(f"the data '{ref}' does not exist.{near}", hint=f"give {READABLE}")


def _function(data: DataRef) -> Rows:
    from edgekit.data.function import FromFunction

    if data.split is not None:
        raise UsageError(f"'{data.ref}' is a function: it has no split '{data.split}'.", hint="leave out the split")
    return FromFunction(data.ref)


def _file(path: Path, data: DataRef) -> Rows:
    suffix = path.suffix.lower()
    check_regular(path)
    if path.stat().st_size == 0:
        raise UsageError(f"'{path}' is empty.", hint=f"give {READABLE}")
    if suffix in (".yaml", ".yml"):
        from edgekit.data import yolo

        return yolo.read_description(path, data)
    if suffix == ".npz":
        from edgekit.data.npz import Npz

        return Npz(path, data)
    if data.split is not None:
        raise UsageError(f"'{path}' is one file: it has no split '{data.split}'.", hint="leave out the split")
    if suffix in SUFFIXES:
        return OneImage(path)
    if suffix in SOUNDS:
        return OneSound(path)
    if suffix in TABLES:
        from edgekit.data.table import Table

        return Table(path, data)
    if suffix == ".parquet":
        from edgekit.data.columnar import read_parquet

        return read_parquet(path, [path], data)
    from edgekit.data.conll import Conll, is_conll

    if is_conll(path):
        return Conll(path, data)
    from edgekit.data.squad import Squad, is_squad

    if is_squad(path):
        return Squad(path, data)
    if suffix == ".json":
        from edgekit.data import coco

        return coco.read(path)
    raise UsageError(f"'{path}' is of an unsupported kind ('{suffix or path.name}').", hint=f"give {READABLE}")


def _with_boxes(path: Path, data: DataRef) -> Rows | None:
    """Return the pictures of a folder with their annotated boxes; None for a folder without annotations."""
    from edgekit.data import coco, voc, yolo

    if (description := yolo.description_in(path)) is not None:
        return yolo.read_description(description, data)
    if annotations := coco.files_of(path):
        return coco.read_folder(path, annotations, data)
    if voc.is_voc(path):
        return voc.read(path, data)
    return yolo.read_folder(path, data) if yolo.is_yolo(path) else None


def _folder(path: Path, data: DataRef) -> Rows:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        from edgekit.data.columnar import read_dataset

        return read_dataset(path, data)
    if (rows := _with_boxes(path, data)) is not None:
        return rows
    from edgekit.data.masks import MaskedPictures, folders_of

    if (pair := folders_of(path)) is not None:
        if data.split is not None:
            raise UsageError(f"'{path}' has no split '{data.split}': it is pictures and masks.",
                             hint="leave out --split, or give the folder above those of the splits")  # fmt: skip
        return MaskedPictures(path, *pair)
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    folders = [child.name for child in children if child.is_dir()]
    splits = splits_among(folders)
    if splits and not any(map(is_picture, children)):
        return _of_splits(path, folders, splits, data)
    kind = next((kind for kind in (ImageFolder, SoundFolder) if next(files(path, kind.suffixes), None)), None)
    tables = [child for child in (*children, *sorted((path / "data").glob("*"))) if child.suffix.lower() in FILES]
    if kind is not None and not (kind is SoundFolder and tables):
        if data.split is not None:
            raise UsageError(
                f"'{path}' has no split '{data.split}': its folders are {', '.join(folders) or 'none'}.",
                hint="leave out --split, or give the folder above those of the splits",
            )
        return kind(path)
    if tables:
        return _tables(path, tables, data)
    if not children:
        raise UsageError(f"the folder '{path}' is empty.", hint=f"give {READABLE}")
    raise UsageError(
        f"the folder '{path}' holds neither images ({', '.join(SUFFIXES)}), sounds ({', '.join(SOUNDS)}) nor tables "
        f"({', '.join(FILES)}).",
        hint=f"give {READABLE}",
    )


def _of_splits(path: Path, folders: list[str], splits: list[str], data: DataRef) -> Rows:
    """Return the rows of one of the folders of splits. Raises UsageError where none is named and there are others."""
    if data.split is None and (others := [name for name in folders if name not in splits]):
        raise UsageError(
            f"'{path}' has folders of splits ({', '.join(splits)}) beside others ({', '.join(others[:MOST_NAMED])}).",
            hint=f"choose one: --split {choose_split(splits, None, str(path), train=data.train)[0]}",
        )
    name, notes = choose_split(splits, data.split, str(path), train=data.train)
    rows = _folder(path / name, replace(data, split=None))
    rows.notes = (*rows.notes, *notes)
    return rows


def _tables(path: Path, tables: list[Path], data: DataRef) -> Rows:
    """Return the rows of a split from a folder of files named after splits: `train.csv`,
    `test-00000-of-00002.parquet`.
    """
    by_split: dict[str, list[Path]] = {}
    for file in tables:
        by_split.setdefault(re.split(r"[-.]", file.name)[0], []).append(file)
    if data.split is None and len(by_split) > 1 and not all(map(is_split, by_split)):
        names = ", ".join(file.name for file in tables)
        raise UsageError(f"the folder '{path}' holds several tables: {names}.", hint="give the path of one of them")
    name, notes = choose_split(list(by_split), data.split, str(path), train=data.train)
    chosen = by_split[name]
    if all(file.suffix.lower() == ".parquet" for file in chosen):
        from edgekit.data.columnar import read_parquet

        rows = read_parquet(path, chosen, data)
        rows.notes = (*rows.notes, *notes)
        return rows
    if len(chosen) > 1:
        raise UsageError(
            f"the folder '{path}' holds several tables: {', '.join(file.name for file in chosen)}.",
            hint="give the path of one of them",
        )
    table = _file(chosen[0], DataRef(data.ref, None, data.text_columns, data.label_column))
    table.notes = (*table.notes, *notes)
    return table
