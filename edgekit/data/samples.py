"""The types of a data set: Sample, DataRef, a reference to data, and Samples, a lazily read sequence."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from edgekit._reading import guard
from edgekit._record import Record, digest_of
from edgekit.data.content import digest_of_content
from edgekit.data.draw import Rule, classes_of, draw
from edgekit.errors import UsageError


@dataclass(frozen=True)
class Sample:
    """A raw example: named fields (each a path, text, number, bytes or array) and its label, None for none."""

    fields: Mapping[str, Any]
    label: Any = None
    text: tuple[str, ...] = ()
    """The fields that hold the text, in order, where the file shows them."""


@dataclass(frozen=True)
class DataRef:
    """Which data to read, and how."""

    ref: str
    split: str | None = None
    text_columns: tuple[str, ...] = ()
    label_column: str | None = None
    train: bool = False
    """Where there are several splits and none is named, read the one for training."""
    inputs: tuple[str, ...] = ()
    """The model's inputs, where they are known: arrays by these names are no labels, whatever they are called."""


class Rows(Protocol):
    """The rows of one data set, read on demand, fastest in ascending order."""

    kind: str
    """`image folder`, `csv`, ...: for people."""
    source: str
    labels: Sequence[Any] | None
    """Every row's label, None for a row without; None where no row has one."""
    notes: tuple[str, ...]

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...

    def digest(self, indexes: Sequence[int] | None) -> str:
        """Return the SHA-256 of the content of these rows (None: of all)."""
        ...


@runtime_checkable
class WithClasses(Protocol):
    """Rows whose labels are made of classes, as those of boxes."""

    classes: Sequence[Any]
    """Names by number, or numbers."""


class Samples:
    """A lazily read sequence of Sample; `take` and `split` return further ones on the same rows."""

    def __init__(self, rows: Rows, indexes: Sequence[int] | None = None) -> None:
        self._rows = rows
        self._indexes = indexes

    @classmethod
    def from_feeds(
        cls, feeds: Sequence[Mapping[str, Any]], labels: Sequence[Any] | None = None, *, source: str = "arrays"
    ) -> Samples:
        """Return samples of arrays in memory, each a mapping from input name to array."""
        if labels is not None and len(labels) != len(feeds):
            raise UsageError(
                f"there are {len(feeds)} samples and {len(labels)} labels.",
                hint="give one label for each sample, or labels=None",
            )
        return cls(_InMemory(source, tuple(feeds), labels))

    @property
    def kind(self) -> str:
        return self._rows.kind

    @property
    def source(self) -> str:
        return self._rows.source

    @functools.cached_property
    def labels(self) -> Sequence[Any] | None:
        """The label of every sample, in order; None where no sample has one."""
        labels = self._rows.labels
        if labels is None or self._indexes is None:
            return labels
        chosen = [labels[index] for index in self._indexes]
        return chosen if any(label is not None for label in chosen) else None

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    @functools.cached_property
    def classes(self) -> tuple[Any, ...]:
        """The distinct labels of the whole data set, sorted; empty where there are none and for measurements. Of boxes,
        the classes that the data names.
        """
        if isinstance(self._rows, WithClasses):
            return tuple(self._rows.classes)
        return (classes_of(self._rows.labels) or ()) if self._rows.labels is not None else ()

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Notes on these samples for a reader of results: one class only, missing labels, the split that was chosen."""
        notes = [*self._rows.notes]
        if self.labels is not None:
            missing = sum(label is None for label in self.labels)
            if missing:
                notes.append(f"{missing} of {len(self)} samples have no label")
            classes = classes_of(self.labels)
            if classes is not None and len(classes) == 1 and len(self) > 1:
                notes.append(f"every sample has the same label, '{classes[0]}': this says little about accuracy")
        return tuple(notes)

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the samples' content; computed once."""
        return self._rows.digest(self._indexes)

    def __len__(self) -> int:
        return len(self._rows) if self._indexes is None else len(self._indexes)

    def __getitem__(self, index: int) -> Sample:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"sample {index} of {size}")
        index %= size
        row = index if self._indexes is None else self._indexes[index]
        if self._rows.kind == "function":  # an error in the user's own code keeps its trace
            return self._rows[row]
        with guard(f"sample {row} of '{self.source}'", hint="correct or remove that sample, or copy the data again"):
            return self._rows[row]

    def __iter__(self) -> Iterator[Sample]:
        for index in range(len(self)):
            yield self[index]

    def take(self, count: int, seed: int = 0, rule: Rule = "systematic") -> Samples:
        """Return `count` drawn samples, or all where there are fewer; the classes keep their shares."""
        return self._pick(draw(count, len(self), seed, self.labels, rule=rule))

    def split(self, calibration: int, seed: int = 0, rule: Rule = "systematic") -> tuple[Samples, Samples]:
        """Return `calibration` drawn samples, and the others. Raises UsageError where no others would be left."""
        size = len(self)
        if calibration >= size:
            raise UsageError(
                f"{calibration} calibration samples of {size} in '{self.source}' leave none for evaluation.",
                hint="ask for fewer, or give separate calibration data",
            )
        chosen = draw(calibration, size, seed, self.labels, rule=rule)
        taken = set(chosen)
        return self._pick(chosen), self._pick([index for index in range(size) if index not in taken])

    def _pick(self, positions: Sequence[int]) -> Samples:
        own = self._indexes
        return Samples(self._rows, list(positions) if own is None else [own[index] for index in positions])


@dataclass(frozen=True)
class Draw(Record):
    """How evaluation samples are drawn from the data: stored, so that a device is evaluated on the same samples."""

    calibration: int
    """How many samples are drawn for calibration first and are not evaluated; 0 where calibration has its own data."""
    most: int
    seed: int
    rule: Rule = "largest"
    """That of the bundles that do not name theirs."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the rule only where it is not the default: so an earlier report is written as it was."""
        data = super().to_dict()
        return data if self.rule != "largest" else {name: value for name, value in data.items() if name != "rule"}

    def parts(self, samples: Samples) -> tuple[Samples, Samples]:
        """Return the calibration samples (all, where none are drawn for it) and the evaluation samples."""
        calibration = samples
        if self.calibration and len(samples) > 1:
            calibration, samples = samples.split(self.calibration, self.seed, self.rule)
        return calibration, samples.take(self.most, self.seed, self.rule)


def require_labels(samples: Samples, purpose: str) -> None:
    """Raise UsageError unless there are labels; `purpose` completes "labels are needed ...": `to compute AUC`."""
    if samples.labelled:
        return
    how = (
        "sort the images into one folder a class"
        if samples.kind == "image folder"
        else "name the column or array with --label-column, or call it 'label'"
    )
    raise UsageError(f"labels are needed {purpose}, and '{samples.source}' ({samples.kind}) has none.", hint=how)


class _InMemory:
    kind = "arrays"
    notes: tuple[str, ...] = ()

    def __init__(self, source: str, feeds: Sequence[Mapping[str, Any]], labels: Sequence[Any] | None) -> None:
        self.source = source
        self._feeds = feeds
        self.labels = labels

    def __len__(self) -> int:
        return len(self._feeds)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self._feeds[index], None if self.labels is None else self.labels[index])

    def digest(self, indexes: Sequence[int] | None) -> str:
        chosen = range(len(self)) if indexes is None else indexes
        return digest_of([digest_of_content([self[index].fields, self[index].label]) for index in chosen])
