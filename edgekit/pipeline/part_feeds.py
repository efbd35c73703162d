"""Calibration feeds of each part of a model: its calls on the calibration samples, with the states that it reads.

The parts are run in full precision by the candidate's own backend, as the task's steps ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit import catalog, registry
from edgekit.data import Feeds
from edgekit.pipeline.export import Export
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.plugin import Session
from edgekit.runner import Runner
from edgekit.tasks.task import drive

if TYPE_CHECKING:
    import numpy as np

CALLS = 3
"""Calls of a part that are kept of one sample, evenly spaced: those that follow each other are much alike."""

BYTES = 500_000_000
"""Feeds of a part are kept up to this size; the samples behind are left out."""


def of_parts(export: Export, planned: PlannedCandidate) -> Mapping[str, Feeds] | None:
    """Return the feeds of each part, recorded once for a backend; None without calibration samples."""
    samples = export.evaluation.calibration
    if samples is None:
        return None
    recorded = export.builder.part_feeds
    if planned.backend not in recorded:
        plain = PlannedCandidate(planned.backend, catalog.recipe("fp32"))
        program = export.builder.build(export.model, plain, None).program
        taps = {each.part.name: _Tap(registry.backend(planned.backend).open(each)) for each in program.payloads}
        kept: dict[str, list[Mapping[str, np.ndarray]]] = {name: [] for name in taps}
        with (
            Runner(taps, [each.part for each in program.payloads], program.states) as runner,
            export.progress.step("recording the calibration samples", len(samples)) as tick,
        ):
            for sample in samples:
                drive(export.evaluation.task, sample, runner.start())
                for name, tap in taps.items():
                    kept[name] += tap.taken(BYTES)
                tick()
        recorded[planned.backend] = {name: Feeds.from_arrays(feeds) for name, feeds in kept.items()}
    return recorded[planned.backend]


class _Tap:
    """A session that keeps what it is fed. It keeps no states itself, so that they are fed to it as arrays."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._fed: list[Mapping[str, np.ndarray]] = []
        self._bytes = 0
        self.inputs, self.outputs = session.inputs, session.outputs
        self.bind, self.profile, self.close = session.bind, session.profile, session.close

    @property
    def precision(self) -> Any:
        return self._session.precision

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._fed.append(dict(feeds))
        return self._session.run(feeds)

    def taken(self, most: int) -> list[Mapping[str, np.ndarray]]:
        """Return the calls to keep of those since the last time, none where there are `most` bytes already."""
        fed, self._fed = self._fed, []
        count = min(CALLS, len(fed))
        chosen = [fed[place * len(fed) // count] for place in range(count)]
        self._bytes += sum(array.nbytes for feeds in chosen for array in feeds.values())
        return chosen if self._bytes <= most else []
