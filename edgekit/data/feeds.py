"""Feeds, the model's inputs for calibration, prepared one at a time from samples by a task."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from edgekit._record import Record, digest_of
from edgekit.data.content import digest_of_content
from edgekit.data.picture import UnreadableImage, check_pictures
from edgekit.data.samples import Sample, Samples
from edgekit.errors import UsageError
from edgekit.spec import Call

if TYPE_CHECKING:
    import numpy as np

REPORT_EVERY_S = 0.25
"""Least number of seconds between two reports of progress."""


class Feeder(Protocol):
    """The part of a task that prepares feeds (`edgekit.tasks.Task`)."""

    @property
    def config(self) -> Record: ...
    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]: ...


def feeds_of(task: Feeder, sample: Sample) -> list[Mapping[str, np.ndarray]]:
    """Return the feeds of each call that a sample needs of a model with one part; no call may depend on the outputs of
    another.
    """
    return [feeds for _, feeds in task.steps(sample)]


class Feeds:
    """An iterable of feeds, prepared on each iteration: a dict from input name to an array with its batch dimension."""

    def __init__(
        self, make: Callable[[], Iterator[dict[str, np.ndarray]]], count: Callable[[], int], digest: Callable[[], str]
    ) -> None:
        self._make = make
        self._count = count
        self._digest = digest
        self._known: dict[str, Any] = {}

    @classmethod
    def of(cls, samples: Samples, task: Feeder) -> Feeds:
        """Return the inputs of every inference that the samples need: one or several a sample, the same number for
        each.
        """

        def per_sample() -> int:
            return len(feeds_of(task, samples[0])) if len(samples) else 0

        def make() -> Iterator[dict[str, np.ndarray]]:
            expected: int | None = None
            for index, sample in enumerate(samples):
                try:
                    feeds = feeds_of(task, sample)
                except UnreadableImage as fault:
                    check_pictures(samples, first=fault)
                    raise
                if expected is None:
                    expected = len(feeds)
                elif len(feeds) != expected:
                    raise UsageError(
                        f"sample {index} of '{samples.source}' needs {len(feeds)} inferences, others {expected}.",
                        hint="give every sample the same number of texts",
                    )
                yield from map(dict, feeds)

        return cls(
            make,
            lambda: len(samples) * per_sample(),
            lambda: digest_of([samples.digest, task.config.to_dict()]),
        )

    @classmethod
    def from_arrays(cls, feeds: Sequence[Mapping[str, np.ndarray]]) -> Feeds:
        """Return feeds of arrays in memory, which already have the batch dimension."""
        copies = [dict(feed) for feed in feeds]
        return cls(lambda: (dict(feed) for feed in copies), lambda: len(copies), lambda: digest_of_content(copies))

    def subsample(self, count: int) -> Feeds:
        """Return `count` of these feeds, evenly spaced, or all where there are no more."""

        def make() -> Iterator[dict[str, np.ndarray]]:
            size = len(self)
            chosen = {index * size // count for index in range(count)}
            last = max(chosen)
            for index, feed in enumerate(self):
                if index in chosen:
                    yield feed
                if index == last:
                    return

        if count >= len(self):
            return self
        return Feeds(make, lambda: count, lambda: digest_of([self.digest, "evenly", count]))

    def with_progress(self, report: Callable[[str], None]) -> Feeds:
        """Return the same feeds; `report` is called, at most a few times a second, with the number of the
        current one.
        """

        def make() -> Iterator[dict[str, np.ndarray]]:
            reported = -REPORT_EVERY_S
            for number, feed in enumerate(self, 1):
                if time.monotonic() - reported >= REPORT_EVERY_S:
                    report(f"sample {number} of {len(self)}")
                    reported = time.monotonic()
                yield feed

        return Feeds(make, lambda: len(self), lambda: self.digest)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self._make()

    def __len__(self) -> int:
        if "count" not in self._known:
            self._known["count"] = self._count()
        return int(self._known["count"])

    @property
    def digest(self) -> str:
        """The SHA-256 of what the feeds are made from; computed once."""
        if "digest" not in self._known:
            self._known["digest"] = self._digest()
        return str(self._known["digest"])
