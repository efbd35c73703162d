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
    numbers_are_names: bool = False
    """A label that is a number is a class's name, as where classes count from 1; else it is an index."""

    order: tuple[str, ...] = ()
    """What the data calls the classes, by index, where that is neither their names nor their indexes."""

    @property
    def unnamed(self) -> bool:
        """Whether the model's classes have no names: none at all, or placeholders."""
        return all(map(_PLACEHOLDER.fullmatch, self.names))

    @classmethod
    def of(
        cls,
        model: Sequence[str],
        data: Sequence[Any] = (),
        *,
        numbers_are_names: bool = False,
        order: tuple[str, ...] = (),
    ) -> Classes:
        """Return the classes with the model's names where it has any, else with the data's in sorted order."""
        if any(not _PLACEHOLDER.fullmatch(name) for name in model):
            return cls(tuple(model), numbers_are_names=numbers_are_names, order=order)
        texts = [name for name in data if isinstance(name, str)]
        if texts and len(texts) == len(data) and not all(map(is_whole, texts)):
            return cls(tuple(sorted(texts)), from_data=True)
        return cls(tuple(model))

    def index(self, raw: Any) -> int:
        """Return the class of a label: by name, by index, by an index written as text, by a one-hot row.

        A name that no class has matches one that differs from it only in case, spaces, - and _, where there is one
        such. Raises UsageError for a label that the model does not have.
        """
        if isinstance(raw, str):
            return self._by_text(raw)
        if (row := one_hot(raw)) is not None:
            return self._in_range(row, raw)
        if isinstance(raw, bool) or type(raw).__name__ in ("bool_", "bool"):
            return self._in_range(int(raw), raw)
        if hasattr(raw, "__len__") and len(raw) > 1:
            raise UsageError(
                f"the label {_shown(raw)} has {len(raw)} values: it is neither a class nor one-hot.",
                hint="give the number of the class, as labels.argmax(axis=1), or a --metric package.module:function",
            )
        try:
            number = int(raw)
            whole = number == raw
        except (TypeError, ValueError) as error:
            raise self._unknown(raw) from error
        if not whole:
            raise UsageError(
                f"the label {raw} is a measurement, not a class.",
                hint="give --metric spearman or pearson; for the similarity of texts --task sentence-similarity",
            )
        if self.numbers_are_names or str(number) in self.order:
            return self._by_text(str(number))
        return self._in_range(number, raw)

    def check(self, data: Sequence[Any]) -> tuple[str, ...]:
        """Return, in words, which labels of the data match a class loosely.

        Raises UsageError for two labels that would be one class, and for one that a model with names does not have.
        """
        if not self.unnamed and not self.numbered(data):
            for raw in data:
                self.index(raw)
        loose = {raw: self.index(raw) for raw in data if isinstance(raw, str) and self._loosely(raw)}
        taken = {self.names.index(raw): raw for raw in data if raw in self.names}
        for raw, number in loose.items():
            if number in taken:
                raise UsageError(
                    f"the data's labels '{taken[number]}' and '{raw}' both match the class '{self.names[number]}'.",
                    hint="correct one of them, or name the model's classes with --labels A,B,C",
                )
            taken[number] = raw
        shown = ", ".join(f"'{raw}' as '{self.names[number]}'" for raw, number in list(loose.items())[:5])
        if not loose:
            return ()
        more = ", ..." if len(loose) > 5 else ""
        return (f"labels that differ from the model's only in case, spaces, - or _ were read as its: {shown}{more}",)

    def _loosely(self, raw: str) -> bool:
        return raw not in self.names and any(_plain(name) == _plain(raw) for name in self.names)

    def numbered(self, data: Sequence[Any]) -> bool:
        """Return whether the data's labels are as many numbers as there are classes, whose order only answers show."""
        texts = [raw for raw in data if isinstance(raw, str) and is_whole(raw) and raw not in self.names]
        return len(texts) == len(data) == len(self.names)

    def _by_text(self, raw: str) -> int:
        if raw.strip() in self.order:
            return self.order.index(raw.strip())
        if raw in self.names:
            return self.names.index(raw)
        alike = [number for number, name in enumerate(self.names) if _plain(name) == _plain(raw)]
        if len(alike) == 1:
            return alike[0]
        if alike:
            names = ", ".join(f"'{self.names[number]}'" for number in alike)
            raise UsageError(f"the label '{raw}' matches several of the model's classes: {names}.",
                             hint="write the label as the model writes it")  # fmt: skip
        if is_whole(raw) and not self.numbers_are_names:
            return self._in_range(int(raw), raw)
        raise self._unknown(raw)

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
                hint="name the model's classes, in the order of its output, with --labels A,B,C or in its id2label",
            )

    def _in_range(self, number: int, raw: Any) -> int:
        if number < 0 or (self.names and number >= len(self.names)):
            raise self._unknown(raw)
        return number

    def _unknown(self, raw: Any) -> UsageError:
        if not self.names:
            return UsageError(
                f"the label '{raw}' is a name, and neither the model nor the data defines its class.",
                hint="label by class number, or name the model's classes with --labels A,B,C or in its id2label",
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


def one_hot(raw: Any) -> int | None:
    """Return the class of a one-hot row, of two values or more; None for anything else."""
    if isinstance(raw, (str, bytes)) or not hasattr(raw, "__len__") or getattr(raw, "ndim", 1) != 1 or len(raw) < 2:
        return None
    values = list(raw)
    ones = [index for index, value in enumerate(values) if value == 1]
    return ones[0] if len(ones) == 1 and all(value in (0, 1) for value in values) else None


def is_whole(text: str) -> bool:
    return re.fullmatch(r"\s*\d+\s*", text) is not None


def _shown(values: Any) -> str:
    items = list(values)
    return f"[{', '.join(str(item) for item in items[:4])}{', ...' if len(items) > 4 else ''}]"


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
