"""Random draws of samples: seeded, the same on every Python version and machine, and stratified by label."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

MOST_STRATA = 1000
"""Labels with more distinct values than this are not classes."""


def draw(count: int, size: int, seed: int, labels: Sequence[Any] | None = None) -> list[int]:
    """Return `count` of the positions 0..size-1, ascending; each class keeps its share to within one sample."""
    if count >= size:
        return list(range(size))
    # Python guarantees the same stream of `random` but not of `shuffle`; a ranking by hash is the same everywhere.
    order = sorted(range(size), key=lambda index: hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest())
    strata = _strata(order, labels)
    if strata is None:
        return sorted(order[:count])
    exact = {name: count * len(members) / size for name, members in strata.items()}
    quota = {name: int(share) for name, share in exact.items()}
    # Largest remainder: the samples that rounding down left over go to the classes that lost most by it.
    by_remainder = sorted(strata, key=lambda name: (quota[name] - exact[name], repr(name)))
    for name in by_remainder[: count - sum(quota.values())]:
        quota[name] += 1
    return sorted(index for name, members in strata.items() for index in members[: quota[name]])


def classes_of(labels: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the distinct labels, sorted by number or by name; None where they are measurements rather than classes."""
    distinct: set[Any] = set()
    for label in labels:
        if label is None:
            continue
        if not isinstance(label, Hashable) or (isinstance(label, float) and not label.is_integer()):
            return None
        distinct.add(label)
        if len(distinct) > MOST_STRATA:
            return None
    try:
        return tuple(sorted(distinct))
    except TypeError:
        return tuple(sorted(distinct, key=str))


def _strata(order: Sequence[int], labels: Sequence[Any] | None) -> dict[Any, list[int]] | None:
    classes = None if labels is None else classes_of(labels)
    if labels is None or not classes or len(classes) < 2:
        return None
    strata: dict[Any, list[int]] = {}
    for index in order:
        strata.setdefault(labels[index], []).append(index)
    return strata
