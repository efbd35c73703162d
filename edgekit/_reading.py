"""Reading files that someone else wrote: a damaged, hostile or huge one is an error that names it, never a trace.

A parser raises what it likes on damage (zip, zlib, UTF-8, a deep table, a header that lies), so one guard a file turns
all of it into the error of who gave the file: UsageError for a user's, ArtifactError for a bundle's.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from edgekit.errors import ArtifactError, EdgekitError, UsageError

if TYPE_CHECKING:
    import zipfile

    import numpy as np

Fault = type[UsageError] | type[ArtifactError]

JSON_BYTES = 1 << 28
ARRAYS_BYTES = 1 << 31
DEPTH = 64
"""Most tables and lists inside one another; the deepest record of edgekit's own has about ten."""

_OF_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Faults of the machine, not of the file."""


@contextlib.contextmanager
def guard(what: str, *, fault: Fault = UsageError, hint: str | None = None) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into `fault`; `what` names the file, as `the report 'a.json'`.

    The block reads one file and does nothing else. Errors of edgekit keep their words and hint, faults of the machine
    pass through.
    """
    try:
        yield
    except EdgekitError as error:
        if isinstance(error, UsageError) and fault is not UsageError:
            raise fault(error.message, hint=hint or error.hint) from error
        raise
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_MACHINE:
            raise
        raise fault(f"{what} cannot be read: {reason(error)}.", hint=hint) from error


def reason(error: Exception) -> str:
    """Return why a file cannot be read, in words; at most 200 characters."""
    import zipfile
    import zlib

    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON, {error}"[:200]
    if isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError, KeyError, IndexError)):
        return f"it is damaged or cut short ({error or type(error).__name__})"[:200]
    return (str(error) or type(error).__name__)[:200].rstrip(".")


def check_regular(path: Path) -> None:
    """Raise UsageError for what exists and is neither a file nor a folder: a pipe or a device may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # missing, or no possible name: whoever opens it reports it
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UsageError(f"'{path}' is not a regular file: it may never end.", hint="copy its content into a file")


def inside(folder: Path, name: str) -> bool:
    """Return whether `name` is a file's path relative to a folder and, with links followed, inside it."""
    path = PurePosixPath(name)
    try:
        return (
            not path.is_absolute() and ".." not in path.parts and folder.resolve() in (folder / name).resolve().parents
        )
    except (OSError, ValueError, RuntimeError):  # too long, a null character, links in a circle
        return False


def read_bytes(path: Path, what: str, *, most: int, fault: Fault = UsageError, hint: str | None = None) -> bytes:
    """Return the bytes of a regular file. Raises `fault` for another kind of file, which may never end, and for more
    than `most` bytes.
    """
    with guard(f"{what} '{path}'", fault=fault, hint=hint):
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("it is a directory" if path.is_dir() else "it is not a regular file")
        if state.st_size > most:
            raise ValueError(f"it has {state.st_size:,} bytes, and at most {most:,} are read")
        return path.read_bytes()


def read_text(
    path: Path, what: str, *, most: int = JSON_BYTES, fault: Fault = UsageError, hint: str | None = None
) -> str:
    """Return the text of a UTF-8 file, without a byte order mark. Raises `fault` for one that cannot be read."""
    with guard(f"{what} '{path}'", fault=fault, hint=hint):
        return read_bytes(path, what, most=most, fault=fault, hint=hint).decode("utf-8-sig")


def read_json(
    path: Path,
    what: str,
    *,
    most: int = JSON_BYTES,
    not_finite: bool = False,
    fault: Fault = UsageError,
    hint: str | None = None,
) -> Any:
    """Return the content of a JSON file; `not_finite` allows NaN and infinities, which some tools write.

    Raises `fault` for a file that is not JSON, is nested deeper than `DEPTH`, or holds a number without a finite value.
    """
    text = read_text(path, what, most=most, fault=fault, hint=hint)
    with guard(f"{what} '{path}'", fault=fault, hint=hint):
        return parse_json(text, not_finite=not_finite)


def parse_json(text: str, *, not_finite: bool = False) -> Any:
    """Return the value of a JSON text. Raises ValueError for what `read_json` refuses."""
    value = json.loads(text) if not_finite else json.loads(text, parse_float=finite, parse_constant=_refuse)
    check_values(value)
    return value


def check_archive(archive: zipfile.ZipFile, *, most: int = ARRAYS_BYTES) -> None:
    """Raise ValueError for an npz archive whose arrays take more than `most` bytes, do not have the size that their
    headers state, hold Python objects, or have one name twice.
    """
    from numpy.lib import format as npy

    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise ValueError("it has two arrays of one name")
    total = sum(entry.file_size for entry in entries)
    if total > most:
        raise ValueError(f"its arrays take {total:,} bytes, and at most {most:,} are read")
    for entry in entries:
        with archive.open(entry) as member:
            major, _ = npy.read_magic(member)
            read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
            shape, _, dtype = read(member)
            header = member.tell()
        if dtype.hasobject:
            raise ValueError(f"'{entry.filename}' holds Python objects")
        if math.prod(shape) * dtype.itemsize + header != entry.file_size:
            raise ValueError(f"'{entry.filename}' does not have the {list(shape)} values that its header states")


def read_arrays(
    path: Path, what: str, *, most: int = ARRAYS_BYTES, fault: Fault = UsageError, hint: str | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name. Raises `fault` for one that is damaged, or that `check_archive`
    refuses.
    """
    import zipfile

    import numpy as np

    with guard(f"{what} '{path}'", fault=fault, hint=hint):
        if not path.is_file():
            raise ValueError("it is not a file" if path.exists() else "it does not exist")
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, most=most)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def finite(text: str) -> float:
    """Return the number of a text. Raises ValueError for NaN, infinities, and what is too large for a float."""
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a finite number")


def check_values(value: Any) -> None:
    """Raise ValueError for a value nested deeper than `DEPTH`, for text that no file can hold, and for dates."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"it is nested deeper than {DEPTH} levels")
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                for key in item:
                    _check_text(key)
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
            elif item is not None and not isinstance(item, (int, float)):
                raise ValueError(f"it holds a {type(item).__name__}, which has no meaning in it")
        level = deeper


def _check_text(text: str) -> None:
    if not text.isascii():
        text.encode("utf-8", "surrogateescape")  # the names of files that are not UTF-8 have such characters
