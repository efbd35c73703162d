"""Digests of values in memory, by content: the same arrays and texts have the same digest in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError


def digest_of_content(value: Any) -> str:
    """Return the SHA-256 of nested mappings, sequences, texts, numbers, bytes, paths (by the file's bytes) and arrays.

    Raises UsageError for a value of any other type.
    """
    sha = hashlib.sha256()
    _add(sha, value)
    return sha.hexdigest()


def _add(sha: Any, value: Any) -> None:
    if value is None or isinstance(value, (bool, int, float, str)):
        sha.update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, (bytes, bytearray)):
        sha.update(f"bytes:{len(value)};".encode())
        sha.update(value)
    elif isinstance(value, Path):
        _add_file(sha, value)
    elif isinstance(value, Mapping):
        sha.update(f"map:{len(value)};".encode())
        for key in sorted(value, key=str):
            _add(sha, str(key))
            _add(sha, value[key])
    elif isinstance(value, (list, tuple)):
        sha.update(f"list:{len(value)};".encode())
        for item in value:
            _add(sha, item)
    else:
        _add_array(sha, value)


def _add_file(sha: Any, path: Path) -> None:
    try:
        with path.open("rb") as file:
            sha.update(b"file;")
            while chunk := file.read(1 << 20):
                sha.update(chunk)
    except OSError as error:
        raise UsageError(
            f"cannot read the file '{path}': {error.strerror}.",
            hint="correct the path in the data, or remove that sample",
        ) from error


def _add_array(sha: Any, value: Any) -> None:
    import numpy as np

    # Arrays and scalars of numpy, and values that convert to them: framework tensors, pictures.
    if not hasattr(value, "__array__") and not hasattr(value, "__array_interface__"):
        raise UsageError(
            f"a sample holds a '{type(value).__name__}', which is not a text, number, bytes, path or array.",
            hint="give arrays (numpy.asarray), texts, numbers, bytes or paths",
        )
    array = np.asarray(value)
    if array.dtype.hasobject:
        _add(sha, array.tolist())
        return
    sha.update(f"array:{array.dtype.str}:{array.shape};".encode())
    sha.update(np.ascontiguousarray(array).tobytes())
