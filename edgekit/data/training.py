"""Training samples as a model takes them: inputs in batches, and labels, read on demand."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgekit._record import digest_of
from edgekit.data.feeds import Feeder, Feeds, feeds_of
from edgekit.data.picture import UnreadableImage, check_pictures
from edgekit.data.samples import Sample, Samples

if TYPE_CHECKING:
    import numpy as np

Problem = Literal["classes", "several-labels", "numbers", "outputs"]
"""What the model predicts: one class of several; any number of classes; a number; or, where that is not known,
outputs.
"""

NO_LABEL = -100
"""The label of a sample without one: torch's cross entropy ignores it."""


class Learner(Feeder, Protocol):
    """The part of a task that prepares feeds and reads labels (`edgekit.tasks.Task`)."""

    def label(self, raw: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training items by number, each with the inputs of one inference; a sample that needs several inferences has
    several items.
    """

    samples: Samples
    task: Learner
    problem: Problem = "outputs"
    answer: str | None = None
    """The output that holds the answer; None means the first."""
    picture: str | None = None
    """The input that is a picture [1,C,H,W], where there is one: it may be shifted and mirrored."""
    padding: Mapping[str, int] = field(default_factory=dict)
    """The value that inputs of different lengths are padded with, by name; 0 for the others. Empty where all inputs
    have the same length.
    """
    pad_left: bool = False

    def __len__(self) -> int:
        return len(self.samples) * self._items_per_sample

    @functools.cached_property
    def _items_per_sample(self) -> int:
        return len(feeds_of(self.task, self.samples[0])) if len(self.samples) else 0

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of everything that decides inputs and labels; computed once."""
        facts = [self.problem, self.answer, self.picture, sorted(self.padding.items()), self.pad_left]
        return digest_of([self.samples.digest, list(map(str, self.samples.labels or ())), self._task, facts])

    @property
    def _task(self) -> Mapping[str, Any]:
        return self.task.config.to_dict()

    @property
    def feeds(self) -> Feeds:
        """All inputs in order, as passes calibrate on them."""
        return Feeds.of(self.samples, self.task)

    @functools.cached_property
    def labels(self) -> tuple[int, ...] | None:
        """The class of each item, NO_LABEL for one without; None where the task has no classes or no sample has a
        label.

        Raises UsageError for a label that the model does not have.
        """
        labels = self.samples.labels
        if labels is None or self.problem != "classes":
            return None
        classes = (NO_LABEL if label is None else int(self.task.label(label)) for label in labels)
        return tuple(number for number in classes for _ in range(self._items_per_sample))

    @functools.cached_property
    def lengths(self) -> tuple[int, ...] | None:
        """The number of elements of each item's largest input; None where nothing is padded."""
        if not self.padding:
            return None
        return tuple(
            max(array.size for array in feed.values())
            for sample in self.samples
            for feed in feeds_of(self.task, sample)
        )

    def inputs(self, index: int) -> dict[str, np.ndarray]:
        """Return the inputs of one item, each [1, ...]."""
        try:
            return dict(feeds_of(self.task, self._sample(index))[index % self._items_per_sample])
        except UnreadableImage as fault:
            check_pictures(self.samples, first=fault)
            raise

    def batch(self, indexes: Sequence[int]) -> dict[str, np.ndarray]:
        """Return the inputs of several items as one batch, [batch, ...], the shorter padded to the longest."""
        import numpy as np

        # Rows are read fastest in ascending order.
        items = {index: self.inputs(index) for index in sorted(set(indexes))}
        batch = {}
        for name in items[indexes[0]]:
            arrays = [items[index][name] for index in indexes]
            batch[name] = np.concatenate(self._padded(name, arrays))
        return batch

    def _sample(self, index: int) -> Sample:
        return self.samples[index // self._items_per_sample]

    def _padded(self, name: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        import numpy as np

        longest = np.max([array.shape for array in arrays], axis=0)
        padded = []
        for array in arrays:
            missing = [int(size) for size in longest - array.shape]
            pads = [(gap, 0) if self.pad_left else (0, gap) for gap in missing]
            padded.append(np.pad(array, pads, constant_values=self.padding.get(name, 0)) if any(missing) else array)
        return padded
