"""The tokenizer of a list of symbols, by id: one symbol for a character, or for a word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit._requirement import require
from edgekit.tasks.config import TOKENIZER

SOURCE = TOKENIZER
TARGET = "target_tokenizer.json"

UNKNOWN = "<unk>"

_SPECIAL = re.compile(r"(<.+>|\[[A-Z]+\])$")


def write(
    path: Path,
    symbols: Sequence[str],
    *,
    special: Sequence[int] = (),
    end: str | None = None,
    lowercase: bool = False,
) -> None:
    """Write a tokenizer file. A text is read by characters where each symbol is one, else by words.

    Symbols such as `<s>`, and those whose ids are `special`, are no part of a text. `end` is added to each text.
    """
    require("writing the symbols of a loop", "tokenizers")
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    ids = {symbol: number for number, symbol in enumerate(symbols)}
    marks = [symbol for number, symbol in enumerate(symbols) if number in special or _SPECIAL.match(symbol)]
    by_character = all(len(symbol) == 1 for symbol in symbols if symbol not in marks)
    tokenizer: Any = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN if UNKNOWN in ids else symbols[0]))
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    if by_character:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    if end is not None:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, ids[end])])
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
