"""TOML, read with tomllib (tomli on Python 3.10), and written, which neither does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read(path: Path, what: str, *, hint: str | None = None) -> dict[str, Any]:
    """Return the content of a file; `what` names it in messages. Raises UsageError for one that cannot be opened, with
    `hint`, and for bad TOML.
    """
    try:
        with path.open("rb") as file:
            return dict(tomllib.load(file))
    except OSError as error:
        raise UsageError(f"cannot read the {what} '{path}': {error.strerror}.", hint=hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"'{path}' is not valid TOML: {error}.",
            hint='correct that line; text is written in quotes, as key = "text"',
        ) from error


def key(name: str) -> str:
    """Return a key as TOML, quoted where it must be."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else value(name)


def value(plain: Any) -> str:
    """Return a plain value as TOML."""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, (int, float)):
        return repr(plain)
    if isinstance(plain, (list, tuple)):
        return "[" + ", ".join(map(value, plain)) + "]"
    if isinstance(plain, Mapping):
        return "{ " + ", ".join(f"{key(str(name))} = {value(item)}" for name, item in plain.items()) + " }"
    text = str(plain).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
