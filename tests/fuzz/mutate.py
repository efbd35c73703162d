"""What the kinds of inputs share: damaging bytes, and editing JSON and TOML."""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit import _toml
from tests.fuzz import bundles

Use = Callable[[], object]
"""What is done with an input. It returns, or raises an error of edgekit's own."""

Draw = Callable[[random.Random], tuple[str, Use]]
"""Write a mutated input that the generator draws, and return its name and its use."""


def damage(content: bytes, generator: random.Random) -> bytes:
    """Return the bytes flipped, replaced, cut, doubled, or with a number of another size among them."""
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 5))):
        at = generator.randrange(len(changed) + 1)
        how = generator.randrange(8)
        if how < 3 and at < len(changed):
            changed[at] = generator.randrange(256)
        elif how == 3 and at < len(changed):
            changed[at] ^= 1 << generator.randrange(8)
        elif how == 4:
            del changed[at : at + generator.choice((1, 2, 8, 60))]
        elif how == 5:
            changed[at:at] = generator.choice(
                (b"\x00", b"\xff" * 8, b"\n", b'"', b"\xed\xa0\x80", b"9" * 30, b"[" * 200)
            )
        elif how == 6:
            changed[at:at] = changed[at : at + generator.choice((1, 10, 200))]
        elif generator.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def text(content: bytes, generator: random.Random) -> bytes:
    """Return a damaged text file, or one of another kind."""
    return generator.choice(bundles.NO_SENSE) if generator.random() < 0.1 else damage(content, generator)


def edit(file: Path, generator: random.Random) -> str:
    """Edit values and keys of a JSON file; return what was done."""
    return bundles.edit(file, generator, times=generator.choice((1, 1, 1, 3)))


def toml(value: dict[str, Any], generator: random.Random, work: Path) -> str:
    """Return the TOML text of a table with edited values; a value that TOML cannot hold is left out."""
    file = work / "edited.json"
    file.write_text(json.dumps(value))
    bundles.edit(file, generator, times=generator.choice((1, 1, 1, 3)))
    edited = json.loads(file.read_text())
    lines = []
    for key, item in edited.items():
        with contextlib.suppress(Exception):
            lines.append(f"{_toml.key(key)} = {_inline(item)}")
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None:
        raise ValueError("TOML has no null")
    return repr(value)
