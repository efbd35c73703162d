"""Frozen dataclasses to and from plain JSON or TOML values.

A `Record` is written with `to_dict` and read with `from_dict`, which is strict: an unknown key, a missing key or a
value of the wrong type is a UsageError that names the place and the nearest known key.
Fields may be text, numbers, booleans, paths, literals, other records, tuples, frozensets, mappings from text, and
unions of these.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

from edgekit.errors import UsageError, nearest

R = TypeVar("R", bound="Record")

TRANSIENT = {"transient": True}
"""Metadata of a field that exists in memory only: it is neither written nor read."""

NOT_FINITE = ("nan", "inf", "-inf")
"""How floats that JSON cannot express are written; a field of type float reads them back."""


class Record:
    """The base of frozen dataclasses that convert to plain values and back: `to_dict` and a strict `from_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: dicts, lists, strings, finite numbers, booleans and None.

        Raises TypeError for a value that has no plain form: that is a bug of whoever put it there.
        """
        return {name: _plain(getattr(self, name), f"{type(self).__name__}.{name}") for name in _fields(type(self))}

    @classmethod
    def from_dict(cls: type[R], data: Mapping[str, Any], where: str = "") -> R:
        """Return the record that plain values describe; `where` names the file or table in messages.

        Raises UsageError for an unknown key, a missing key or a value of the wrong type.
        """
        where = where or cls.__name__
        if not isinstance(data, Mapping):
            raise UsageError(
                f"{where}: expected a table, found {_shortened(data)}.",
                hint=f"write it as a table of keys: {', '.join(sorted(_fields(cls)))}",
            )
        fields = _fields(cls)
        known = f"known keys: {', '.join(sorted(fields))}"
        for key in data:
            if key not in fields:
                raise UsageError(f"{where}: unknown key '{str(key)[:60]}'.{nearest(str(key), fields)}", hint=known)
        values: dict[str, Any] = {}
        for name, (field, hint) in fields.items():
            if name in data:
                values[name] = _typed(hint, data[name], f"{where}: {name}")
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise UsageError(f"{where}: the key '{name}' is missing.", hint=known)
        try:
            return cls(**values)
        except UsageError as error:  # raised by __post_init__, which has no `where`
            raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def canonical_json(value: object) -> str:
    """Return the canonical JSON text of a plain value: equal values give equal text, so that it can be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a plain value's canonical JSON, as hex."""
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()


LARGE_BYTES = 16_000_000
"""A file of this size is read once for its digest, as long as its place on the disk, size and time stay the same: it
takes longer to write than the clock of file systems takes to move on."""


@dataclasses.dataclass(frozen=True)
class _Unchanged:
    """A file as long as it is not written: its name does not count."""

    device: int
    number: int
    size: int
    modified_ns: int
    path: Path = dataclasses.field(compare=False)


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex."""
    facts = path.stat()
    if facts.st_size < LARGE_BYTES:
        return _digest(path)
    return _digest_of_large(_Unchanged(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, path))


@functools.lru_cache(maxsize=256)
def _digest_of_large(file: _Unchanged) -> str:
    return _digest(file.path)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, reading 1 MiB at a time."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()


def _fields(cls: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """Return each persistent field with its type, by name."""
    # Not cached itself: mypy does not accept `type[R]` as Hashable.
    return _resolved(cls)


@functools.cache
def _resolved(cls: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    persistent = (field for field in dataclasses.fields(cls) if not field.metadata.get("transient"))
    return {field.name: (field, hints[field.name]) for field in persistent}


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(items)]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        # A numpy scalar or array, recognised by its module so that numpy is not imported.
        return _plain(value.tolist(), where)
    raise TypeError(f"{where} holds a {type(value).__name__}, which has no plain form: {_shortened(value)}")


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(hint), value, where)
    if origin is typing.Literal:
        return _literal(typing.get_args(hint), value, where)
    if origin in (tuple, frozenset):
        return _sequence(origin, typing.get_args(hint), value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise UsageError(
                f"{where}: expected a table, found {_shortened(value)}.",
                hint=f"write it as a table: [{_key(where)}] and a line for each of its keys",
            )
        inner = typing.get_args(hint)[1]
        return {str(key): _typed(inner, item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Record):
        return value if isinstance(value, hint) else hint.from_dict(value, where)
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint is float and not isinstance(value, bool) and (isinstance(value, int) or value in NOT_FINITE):
        return _number(value, where)
    if isinstance(hint, type) and isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise UsageError(f"{where}: expected {_name(hint)}, found {_shortened(value)}.", hint=f"correct '{_key(where)}'")


def _number(value: int | str, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise UsageError(f"{where}: {_shortened(value)} is too large.", hint=f"correct '{_key(where)}'") from error


def _literal(options: tuple[Any, ...], value: Any, where: str) -> Any:
    for option in options:
        if type(option) is type(value) and option == value:  # True == 1, but neither stands for the other
            return option
    words = [str(option) for option in options]
    raise UsageError(
        f"{where}: '{str(value)[:60]}' is not one of {', '.join(words)}.{nearest(str(value)[:60], words)}",
        hint=f"correct '{_key(where)}'",
    )


def _sequence(kind: type, args: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple, frozenset)):
        raise UsageError(
            f"{where}: expected a list, found {_shortened(value)}.", hint=f"write it in brackets: {_key(where)} = [...]"
        )
    hints = args if kind is tuple and args[-1] is not Ellipsis else (args[0],) * len(value)
    if len(hints) != len(value):
        raise UsageError(
            f"{where}: expected a list of {len(hints)}, found {len(value)} in {_shortened(value)}.",
            hint=f"give {_key(where)} {len(hints)} values",
        )
    pairs = enumerate(zip(hints, value, strict=True))
    return kind(_typed(hint, item, f"{where}[{index}]") for index, (hint, item) in pairs)


def _union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    faults: list[UsageError] = []
    for option in options:
        try:
            return _typed(option, value, where)
        except UsageError as error:
            faults.append(error)
    # Of several types, the error of the type that has the value's form is the most precise one.
    form = Mapping if isinstance(value, Mapping) else (list, tuple)
    alike = [fault for option, fault in zip(options, faults, strict=True) if _has_form(option, form, value)]
    if len(options) == 1 or len(alike) == 1:
        raise (alike or faults)[0]
    raise UsageError(
        f"{where}: expected {' or '.join(map(_name, options))}, found {_shortened(value)}.",
        hint=f"correct '{_key(where)}'",
    )


def _has_form(hint: Any, form: Any, value: Any) -> bool:
    """Return whether `hint` is a table type where the value is a table, or a list type where it is a list."""
    origin = typing.get_origin(hint)
    if form is Mapping:
        return origin in (dict, Mapping) or (isinstance(hint, type) and issubclass(hint, Record))
    return isinstance(value, form) and origin in (tuple, frozenset)


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table", Path: "a path"}


def _name(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin in (tuple, frozenset):
        return "a list"
    if origin in (dict, Mapping) or (isinstance(hint, type) and issubclass(hint, Record)):
        return "a table"
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def _key(where: str) -> str:
    return where.rpartition(": ")[2]


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
