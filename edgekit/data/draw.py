"""Random draws of samples: seeded, the same on every Python version and machine, and stratified by label."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

Rule = Literal["systematic", "largest"]
"""How the samples that rounding down leaves over go to classes. `largest`, the rule of earlier bundles: to the largest
remainders, of equal ones to the first by name, so that 300 samples of 1000 classes showed the first 300 alone."""

MOST_STRATA = 1000
"""Labels with more distinct values than this are not classes."""


def draw(
    count: int, size: int, seed: int, labels: Sequence[Any] | None = None, *, rule: Rule = "systematic"
) -> list[int]:
    """Return `count` of the positions 0..size-1, ascending; each class keeps its share to within one sample."""
    if count >= size:
        return list(range(size))
    # Python guarantees the same stream of `random` but not of `shuffle`; a ranking by hash is the same everywhere.
    order = sorted(range(size), key=lambda index: _hash(f"{seed}:{index}"))
    strata = _strata(order, labels)
    if strata is None:
        return sorted(order[:count])
    quota = _by_largest_remainder(strata, count, size) if rule == "largest" else _systematic(strata, count, size, seed)
    return sorted(index for name, members in strata.items() for index in members[: quota[name]])


def _systematic(strata: Mapping[Any, Sequence[int]], count: int, size: int, seed: int) -> dict[Any, int]:
    """Return how many samples each class gives, its share rounded down or up.

    The classes stand in a row, ordered by the seed, each as long as it has samples, and every `size / count` a sample
    is taken: which class gets a sample more hangs on neither its name nor its size.
    """
    row = sorted(strata, key=lambda name: _hash(f"{seed}:{name!r}"))
    place = int.from_bytes(_hash(f"{seed}"), "big") % size
    quota = {}
    for name in row:
        end = place + count * len(strata[name])
        quota[name] = end // size - place // size
        place = end
    return quota


def _by_largest_remainder(strata: Mapping[Any, Sequence[int]], count: int, size: int) -> dict[Any, int]:
    exact = {name: count * len(members) / size for name, members in strata.items()}
    quota = {name: int(share) for name, share in exact.items()}
    # Largest remainder: the samples that rounding down left over go to the classes that lost most by it.
    by_remainder = sorted(strata, key=lambda name: (quota[name] - exact[name], repr(name)))
    for name in by_remainder[: count - sum(quota.values())]:
        quota[name] += 1
    return quota


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


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
