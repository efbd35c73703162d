"""The edit distance (Levenshtein) of two sequences: of words for a word error rate, of characters or phonemes alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Return the least number of insertions, deletions and substitutions that make `b` of `a`."""
    row = list(range(len(b) + 1))
    for place, item in enumerate(a, 1):
        diagonal, row[0] = row[0], place
        for column, other in enumerate(b, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (item != other))
    return row[-1]
