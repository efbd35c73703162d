"""What tests ask of messages: the facts in the test, the wording in one file.

A test names the facts that a message must hold: the value in its quotes, the number, the option in the hint. The
sentences stand in `fixtures/wording.txt` alone: after rewording a message, run `make wording` and read the diff.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import EdgekitError

ROOT = Path(__file__).parent.parent
FILE = ROOT / "tests" / "fixtures" / "wording.txt"

Fact = str | re.Pattern[str] | tuple[str, ...] | list[Any]
"""A text that stands whole in the message; a pattern; a tuple of texts in their order; a list of facts in any order."""


def mentions(text: str, *facts: Fact) -> bool:
    """Return whether `text` holds every fact."""
    return not missing(text, facts)


def missing(text: str, facts: tuple[Fact, ...] | list[Fact]) -> list[Fact]:
    """Return the facts that `text` lacks."""
    absent: list[Fact] = []
    for fact in facts:
        if isinstance(fact, list):
            absent += missing(text, fact)
        elif not _pattern(fact).search(text):
            absent.append(fact)
    return absent


def _pattern(fact: str | re.Pattern[str] | tuple[str, ...]) -> re.Pattern[str]:
    if isinstance(fact, re.Pattern):
        return fact
    parts = (fact,) if isinstance(fact, str) else fact
    return re.compile(".*?".join(_whole(part) for part in parts), re.DOTALL)


def _whole(text: str) -> str:
    """Return a pattern for `text` that is not a piece of a longer word, name or number: 3 is not in 13, 0.3 or 3.1."""
    left = {"d": r"(?<![\w.])(?<!\w-)", "w": r"(?<!\w)(?<!\w-)"}.get(_kind(text[:1]), "")
    right = {"d": r"(?!\w|-\w|\.\d)", "w": r"(?!\w|-\w)"}.get(_kind(text[-1:]), "")
    return left + re.escape(text) + right


def _kind(character: str) -> str:
    return "d" if character.isdigit() else "w" if re.match(r"\w", character) else ""


@contextmanager
def raises(kind: type[BaseException], *facts: Fact, hint: Fact = ()) -> Iterator[pytest.ExceptionInfo[Any]]:
    """Assert that the block raises `kind`, with its exit code, and that message and hint hold the facts."""
    with pytest.raises(kind) as caught:
        yield caught
    try:
        _check(caught.value, kind, facts, hint)
    finally:
        del caught  # the error's traceback holds this frame: a cycle would keep the files of the block open


def _check(error: BaseException, kind: type[BaseException], facts: tuple[Fact, ...], hint: Fact) -> None:
    if isinstance(error, EdgekitError):
        assert error.exit_code == getattr(kind, "exit_code", error.exit_code), f"{error!r} ends with another exit code"
    absent = missing(str(error), facts)
    assert not absent, f"the message lacks {absent}: {error}"
    given = getattr(error, "hint", None) or ""
    absent = missing(given, [hint] if hint else [])
    assert not absent, f"the hint lacks {absent}: {given}"


# What a machine, a moment or another project writes into a message, and the word that stands for it in the file.
_VOLATILE = {
    r"([:,]) (?:Expecting|Invalid control|Illegal trailing|Unterminated string)\b.*?(\.?)$": r"\1 <json>\2",
    r"(\w(?:Error|Node)): .+?((?: \(\w+\.py, line \d+\))?\.?)$": r"\1: <reason>\2",
    r"\b\d+\.\d+\.\d+(?:\w|[+.-]\w+)*": "<version>",
    r"(?<![,\[\d])\b\d{1,3}(?:,\d{3})+\b(?![,\]])|\b\d{4,}\b": "<number>",
}


def stable(text: str, places: Mapping[Path | str, str] | None = None) -> str:
    """Return `text` without what differs between machines; `places` names folders."""
    folders: dict[Path | str, str] = {**(places or {}), ROOT: "<edgekit>", Path.home(): "~"}
    for folder, name in folders.items():
        text = text.replace(str(folder), name)
    for pattern, name in _VOLATILE.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return re.sub(rf"\b{platform.machine()}\b", "<machine>", text).strip()


class Wording:
    """The file of texts, a section each, compared with what tests show; or, for `make wording`, written."""

    def __init__(self, rewrite: bool, file: Path = FILE) -> None:
        self.rewrite = rewrite
        self.file = file
        self.seen: dict[str, str] = {}

    def check(self, name: str, text: str, places: Mapping[Path | str, str] | None = None) -> None:
        """Assert that the file has `text` under `name`."""
        self.seen[name] = stable(text, places)
        if not self.rewrite:
            kept = self.read().get(name)
            message = f"{name!r} is worded in another way: run `make wording` and read the diff"
            assert self.seen[name] == kept, f"{message}\n{kept}\n->\n{self.seen[name]}"

    def read(self) -> dict[str, str]:
        parts = re.split(r"^## (.*)\n", self.file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}

    def write(self, keep: bool) -> None:
        """Write what was seen; with `keep`, also what was in the file and was not seen."""
        texts = {**(self.read() if keep and self.file.is_file() else {}), **self.seen}
        head = "What edgekit writes, case by case. `make wording` writes this file.\n"
        sections = [f"\n## {name}\n{texts[name]}\n" for name in sorted(texts)]
        self.file.write_text(head + "".join(sections), encoding="utf-8")
