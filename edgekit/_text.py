"""Text that others wrote, made safe to print: a label or a name must not move the cursor, hide a line or turn text."""

from __future__ import annotations

import re

_HIDDEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters but tab and line feed, marks that reorder text, and halves of characters that no file can hold."""

_PATTERN = re.compile(_HIDDEN)
_OR_COLOUR = re.compile(rf"\x1b\[(?:0|1|2|3[0-6]|9[0-6])m|{_HIDDEN}")


def visible(text: str, *, colours: bool = False) -> str:
    r"""Return the text with every hidden character written out, as `\x1b`; `colours` keeps those of our own output."""
    if text.isascii() and text.isprintable():
        return text
    if colours:
        return _OR_COLOUR.sub(lambda match: match[0] if len(match[0]) > 1 else _written(match[0]), text)
    return _PATTERN.sub(lambda match: _written(match[0]), text)


def json_text(value: object) -> str:
    """Return a value as indented JSON in which hidden characters are escaped."""
    import json  # on use: where `python -m` starts, one in the working directory would be found

    text = json.dumps(value, indent=1, ensure_ascii=False)
    return _PATTERN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
