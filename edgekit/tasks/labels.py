"""Classes: from a label of the data to the index in the model's output, and back to a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import UsageError, nearest

_PLACEHOLDER = re.compile(r"label[_ ]?\d+", re.IGNORECASE)
"""transformers' names for classes without a name: `LABEL_0`."""

_MOST_LISTED = 20


@dataclass(frozen=True)
class Classes:
    """The names of a model's classes, by index; `from_data` where it has none and the data's sorted names are used."""

    names: tuple[str, ...] = ()
    from_data: bool = False

    @classmethod
    def of(cls, model: Sequence[str], data: Sequence[Any] = ()) -> Classes:
        """Return the classes with the model's names where it has any, else with the data's in sorted order."""
        if any(not _PLACEHOLDER.fullmatch(name) for name in model):
            return cls(tuple(model))
        texts = [name for name in data if isinstance(name, str)]
        if texts and len(texts) == len(data) and not all(map(_is_whole, texts)):
            return cls(tuple(sorted(texts)), from_data=True)
        return cls(tuple(model))

    def index(self, raw: Any) -> int:
        """Return the class of a label: by name (ignoring case, spaces, - and _), by index, by an index written as text.

        Raises UsageError for a label that the model does not have.
        """
        if isinstance(raw, str):
            plain = _plain(raw)
            for number, name in enumerate(self.names):
                if name == raw or _plain(name) == plain:
                    return number
            if _is_whole(raw):
                return self._in_range(int(raw), raw)
            raise self._unknown(raw)
        if isinstance(raw, bool) or type(raw).__name__ in ("bool_", "bool"):
            return self._in_range(int(raw), raw)
        try:
            number = int(raw)
            whole = number == raw
        except (TypeError, ValueError) as error:
            raise self._unknown(raw) from error
        if not whole:
            raise UsageError(
                f"the label {raw} is a measurement, not a class.",
                hint="for similarity or regression give --task sentence-similarity, or --metric spearman or pearson",
            )
        return self._in_range(number, raw)

    def name(self, index: int) -> str:
        return self.names[index] if index < len(self.names) else str(index)

    def check_count(self, count: int) -> None:
        """Raise UsageError where the data's class names cannot be the model's, because their numbers differ."""
        if self.from_data and count != len(self.names):
            if alike := spelled_alike(self.names):
                raise UsageError(
                    f"the model has {count} classes and the data {len(self.names)} labels, of which some differ in "
                    f"their spelling alone: {'; '.join(', '.join(map(repr, names)) for names in alike)}.",
                    hint="write each class in one way in the data, capital letters and spaces included",
                )
            raise UsageError(
                f"the model has {count} classes without names and the data {len(self.names)}: {_listed(self.names)}. "
                "Their order in the model is unknown.",
                hint="give the classes by number, or put their names into the model's config (id2label)",
            )

    def _in_range(self, number: int, raw: Any) -> int:
        if number < 0 or (self.names and number >= len(self.names)):
            raise self._unknown(raw)
        return number

    def _unknown(self, raw: Any) -> UsageError:
        if not self.names:
            return UsageError(
                f"the label '{raw}' is a name, and neither the model nor the data defines its class.",
                hint="label by class number, or put the names into the model's config (id2label)",
            )
        return UsageError(
            f"the model has no label '{raw}'.{nearest(str(raw), self.names)}", hint=f"its labels: {_listed(self.names)}"
        )


def spelled_alike(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of names that differ in case, spaces, - and _ alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_plain(name), []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"\s*\d+\s*", text) is not None


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
