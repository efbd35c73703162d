"""The choice of a split of a data set that has several."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.errors import UsageError, nearest

ALIASES = (("validation", "val", "valid", "dev"), ("test", "testing"), ("train", "training"))
"""Names with one meaning, in the order of choice where no split is named: first what a model was not trained on."""


def is_split(name: str) -> bool:
    return any(name.lower() in names for names in ALIASES)


def choose_split(
    names: Sequence[str], asked: str | None, where: str, *, train: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Return the split to read and notes on the choice; `train` prefers the split for training.

    Raises UsageError for a missing split, and where none is named and no name is a usual one.
    """
    if asked is not None:
        wanted = next((aliases for aliases in ALIASES if asked.lower() in aliases), (asked,))
        for name in (asked, *wanted):
            if name in names:
                return name, ()
        raise UsageError(
            f"'{where}' has no split '{asked}'.{nearest(asked, names)}",
            hint=f"its splits: {', '.join(names) or 'none'}",
        )
    if len(names) == 1:
        return names[0], ()
    for aliases in reversed(ALIASES) if train else ALIASES:
        for name in names:
            if name.lower() in aliases:
                return name, (f"'{where}' has the splits {', '.join(names)}; '{name}' was read, as none was named",)
    raise UsageError(f"'{where}' has several splits: {', '.join(names)}.", hint=f"choose one: --split {names[0]}")
