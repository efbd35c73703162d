"""The text of a file's line, which must be UTF-8, and the command that converts a file in another encoding."""

from __future__ import annotations

import shlex
from pathlib import Path

from edgekit.errors import UsageError

BOM = b"\xef\xbb\xbf"

_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""The byte order marks, the longer first: that of UTF-16 begins that of UTF-32."""

_WINDOWS = bytes(range(0x80, 0xA0))
"""Bytes that are letters and quotation marks in Windows-1252, and control characters in Latin-1."""


def decode(line: bytes, path: Path, number: int) -> str:
    """Return the text of line `number`. Raises UsageError, with the command that converts it, for another encoding."""
    try:
        text = line.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(line, path, number) from error
    if "\0" in text:  # UTF-16 without a mark: its English letters are ASCII and a zero each
        raise _not_utf8(line, path, number)
    return text


def _not_utf8(line: bytes, path: Path, number: int) -> UsageError:
    with path.open("rb") as file:
        head = file.read(4096)
    wide = _wide(head)
    if wide is None and b"\0" in line:
        return UsageError(
            f"'{path}' has a zero byte in line {number}: it is damaged, or not a text file.",
            hint="remove such bytes, and give the copy: " + into_copy(path, r"tr -d '\000' <"),
        )
    what = f"{wide} text, not UTF-8" if wide else f"not UTF-8 text (line {number})"
    encoding = wide or ("WINDOWS-1252" if any(byte in _WINDOWS for byte in line) else "LATIN1")
    return UsageError(
        f"'{path}' is {what}.",
        hint=f"convert it, and give the copy: {into_copy(path, f'iconv -f {encoding} -t UTF-8')}",
    )


def into_copy(path: Path, command: str) -> str:
    """Return the line of a shell that writes what `command` makes of a file into a copy beside it."""
    copy = path.with_name(f"{path.stem}-copy{path.suffix}")
    return f"{command} {shlex.quote(str(path))} > {shlex.quote(str(copy))}"


def _wide(head: bytes) -> str | None:
    """Return the name of an encoding of two or four bytes a letter, by its mark or its zeros; None for others."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    zeros = [head[start::2].count(0) for start in (0, 1)]
    if len(head) > 1 and max(zeros) > len(head) // 4 and min(zeros) == 0:
        return "UTF-16LE" if zeros[1] else "UTF-16BE"
    return None
