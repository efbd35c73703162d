"""Weights in files beside an ONNX graph: read them, also through links, as the hub's cache has them, and write them.

onnx itself refuses links since 1.21: a file from elsewhere could name one that leads out of its folder. Here the names
in the file are held to its folder, and a link is read: who owns the folder made it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

EXTERNAL = 1
"""onnx.TensorProto.EXTERNAL"""

LEAST_BYTES = 65_536
"""Smaller weights stay in the graph: they are what its nodes compute shapes and constants from."""

ALIGNMENT = 4096
"""Weights begin on a page, so that a runtime can map them."""


class DataFile:
    """Write weights, one after the other, into the file `<name>.data` beside the graph `<name>`."""

    def __init__(self, graph: Path) -> None:
        self.name = graph.name + ".data"
        self._path = graph.with_name(self.name)

    def __enter__(self) -> DataFile:
        self._file = self._path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, tensor: Any, pieces: Iterable[np.ndarray]) -> None:
        """Append the contiguous arrays that together are the weight, and make `tensor` the name of their place."""
        offset = -(-self._file.tell() // ALIGNMENT) * ALIGNMENT
        self._file.seek(offset)
        for piece in pieces:
            self._file.write(piece.data.cast("B"))
        place = {"location": self.name, "offset": offset, "length": self._file.tell() - offset}
        tensor.ClearField("raw_data")
        tensor.data_location = EXTERNAL
        del tensor.external_data[:]
        for key, value in place.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)


def array_of(tensor: Any, folder: Path) -> np.ndarray:
    """Return the values of a tensor; those in a file of `folder` are mapped, and read as they are used."""
    import numpy as np
    from onnx import helper, numpy_helper

    if tensor.data_location != EXTERNAL:
        return np.asarray(numpy_helper.to_array(tensor))
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = folder / "graph"
    file, offset = find(entries.get("location", ""), path), _number(entries, "offset", tensor, path) or 0
    dtype, shape = helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
    return np.memmap(file, dtype, "r", offset, shape)


def read_into(tensors: Any, path: Path) -> None:
    """Read the weights of the graph at `path` that are in other files into its tensors, in place.

    Raises UsageError for a name outside its folder, and for a file that is missing, special or too short.
    """
    for tensor in tensors:
        if tensor.data_location != EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = find(location, path)
        offset, length = _number(entries, "offset", tensor, path) or 0, _number(entries, "length", tensor, path)
        with file.open("rb") as opened:
            opened.seek(offset)
            data = opened.read() if length is None else opened.read(length)
        if length is not None and len(data) < length:
            raise UsageError(
                f"the external data of '{path}' cannot be read: '{location}' ends before '{tensor.name}' does.",
                hint="the data file may be truncated; copy it again",
            )
        tensor.raw_data = data
        tensor.data_location = 0
        del tensor.external_data[:]


def find(location: str, path: Path) -> Path:
    """Return the file with external data of the graph at `path`: beside it, or beside what a link there leads to."""
    name = PurePosixPath(location)
    if not location or name.is_absolute() or ".." in name.parts or "\0" in location:
        raise UsageError(
            f"'{path}' has weights in '{location}', which is outside its folder: it is not read.",
            hint=f"move the data file into '{path.parent}', and save the model again with its name alone",
        )
    file = path.parent / location
    if not file.exists() and path.is_symlink():
        file = path.resolve().parent / location
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise UsageError(
            f"'{path}' has weights in '{location}', which is not in its folder.",
            hint=f"copy '{location}' into '{path.parent}', or save the model again as one file",
        ) from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"'{path}' has weights in '{location}', which is not a file.", hint="copy the data file again")
    return file


def _number(entries: dict[str, str], key: str, tensor: Any, path: Path) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError(
            f"the external data of '{path}' cannot be read: '{tensor.name}' has the {key} '{text[:40]}'.",
            hint="save the model again",
        )
    return int(text)
