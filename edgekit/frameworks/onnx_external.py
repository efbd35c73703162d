"""Weights in files beside an ONNX graph: read them, also through links, as the hub's cache has them.

onnx itself refuses links since 1.21: a file from elsewhere could name one that leads out of its folder. Here the names
in the file are held to its folder, and a link is read: who owns the folder made it.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import UsageError

EXTERNAL = 1
"""onnx.TensorProto.EXTERNAL"""


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
