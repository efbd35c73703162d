"""The choice of a split of a data set that has several."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgekit.errors import UsageError, nearest

ALIASES = (("validation", "val", "valid", "dev", "eval"), ("test", "testing"), ("train", "training"))
"""Names with one meaning, in the order of choice where no split is named: first what a model was not trained on."""

_ENDING = re.compile(r"[ _-]?(set|data|split|images)?[ _-]?\d*$")
"""The rest of names such as `training_set` and `val2017`."""


def is_split(name: str) -> bool:
    return _meaning(name) is not None


def splits_among(names: Sequence[str]) -> list[str]:
    """Return the names of splits, where all have a usual name, or there are some of two meanings: one alone, or `test1`
    and `test2`, may be classes.
    """
    if all(any(name.lower() in aliases for aliases in ALIASES) for name in names):
        return list(names)
    splits = [name for name in names if is_split(name)]
    return splits if len({_meaning(name) for name in splits}) > 1 else []


def _meaning(name: str) -> int | None:
    """Return the place in ALIASES of a split's name; None for another name."""
    plain = _ENDING.sub("", name.lower())
    return next((place for place, names in enumerate(ALIASES) if plain in names), None)


def choose_split(
    names: Sequence[str], asked: str | None, where: str, *, train: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Return the split to read and notes on the choice; `train` prefers the split for training.

    Raises UsageError for a missing split, and where none is named and no name is a usual one.
    """
    if asked is not None:
        if asked in names:
            return asked, ()
        alike = [name for name in names if is_split(asked) and _meaning(name) == _meaning(asked)]
        if len(alike) == 1:
            return alike[0], ()
        raise UsageError(
            f"'{where}' has no split '{asked}'.{nearest(asked, names)}",
            hint=f"choose one: {' or '.join(f'--split {name}' for name in names)}" if names else "leave out the split",
        )
    if len(names) == 1:
        return names[0], ()
    known = sorted((place, name) for name in names if (place := _meaning(name)) is not None)
    if known:
        _, name = known[-1] if train else known[0]
        others = " or ".join(f"--split {other}" for other in names if other != name)
        return name, (f"'{where}' has the splits {', '.join(names)}; '{name}' was read: for another give {others}",)
    raise UsageError(f"'{where}' has several splits: {', '.join(names)}.", hint=f"choose one: --split {names[0]}")
