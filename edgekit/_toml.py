"""TOML, read with tomllib (tomli on Python 3.10), and written, which neither does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit._reading import check_values, guard, read_bytes, reason
from edgekit.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


TOML_BYTES = 1 << 24


def read(path: Path, what: str, *, hint: str | None = None) -> dict[str, Any]:
    """Return the content of a file; `what` names it in messages. Raises UsageError for one that cannot be opened, with
    `hint`, and for bad TOML.
    """
    text = read_bytes(path, f"the {what}", most=TOML_BYTES, hint=hint)
    syntax = 'correct that line; text is written in quotes, as key = "text"'
    with guard(f"the {what} '{path}'", hint=syntax):
        try:
            content = tomllib.loads(text.decode("utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"'{path}' is not valid TOML: {reason(error)}.", hint=syntax) from error
        check_values(content)
        return dict(content)


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
