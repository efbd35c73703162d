"""The samples that travel in a bundle, so that a device can prove it: evaluation samples, random inputs, or none.

Real samples are records of whoever is in the data: the report says whose they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import cache, registry, tasks
from edgekit.bundle.manifest import INPUTS, OUTPUTS
from edgekit.data import Samples
from edgekit.errors import EdgekitError, UsageError
from edgekit.evaluation import gate
from edgekit.evaluation.dataset import synthetic_feeds
from edgekit.evaluation.reference_outputs import SYNTHETIC, ReferenceOutputs, record
from edgekit.result.quality import OutputDeviation
from edgekit.result.report import Quality
from edgekit.spec import MODEL, storable
from edgekit.tasks.config import TaskConfig

if TYPE_CHECKING:
    from edgekit.pipeline.candidates import BuiltCandidate
    from edgekit.pipeline.export import Export

USUAL = 4
USUAL_BYTES = 4_000_000
"""The most that the usual samples take together: more would outweigh small models. A number that is asked for has no
limit."""
NONE = "none"


@dataclass(frozen=True)
class BundleSamples:
    """What is stored in a bundle, and the quality and the deviation that its own check on a device is compared with."""

    reference: ReferenceOutputs | None
    count: int
    source: str
    quality: Quality
    deviation: float
    note: str

    def write(self, folder: Path) -> None:
        """Store the inputs and the original's outputs of each call."""
        import numpy as np

        if self.reference is None:
            return
        folder.mkdir()
        for index in range(self.count):
            for step, call in enumerate(self.reference[index]):
                name = f"{index}-{step}" + ("" if call.part == MODEL else f".{call.part}")
                for end, arrays in ((INPUTS, call.feeds), (OUTPUTS, call.outputs)):
                    plain = {key: storable(array) for key, array in arrays.items()}
                    np.savez(folder / f"{name}{end}", **plain)  # type: ignore[arg-type]


def check(export: Export) -> None:
    """Raise UsageError, before any candidate is built, where the model does not take the random inputs asked for."""
    if export.plan.project.samples == SYNTHETIC:
        _synthetic(export)


def chosen(export: Export, winner: BuiltCandidate) -> BundleSamples:
    """Return what the project asks to store with the winner."""
    asked, source = export.plan.project.samples, export.evaluation.sources.evaluation or SYNTHETIC
    quality = winner.quality
    deviation = quality.rel_l2 if quality.pooled is None else quality.pooled
    if asked == NONE:
        scored = quality.original_score is not None
        how = "only `edgekit verify --data` can check it" if scored else "without labels nothing can check it"
        note = f"no sample travels in the bundle: {how} on a device"
        return BundleSamples(None, 0, NONE, quality, deviation, note)
    if asked == SYNTHETIC and source != SYNTHETIC:
        return _random(export, winner, deviation)
    count = _count(export.reference, asked)
    whose = "random inputs" if source == SYNTHETIC else f"samples of '{source}'"
    note = f"{count} {whose} travel in the bundle with the original's outputs" + (
        "" if source == SYNTHETIC else ": --samples synthetic or none keeps the data here"
    )
    return BundleSamples(export.reference, count, source, quality, deviation, note)


def _count(reference: ReferenceOutputs, asked: int | str | None) -> int:
    """Return how many of the first samples are stored."""
    if isinstance(asked, int):
        return min(asked, len(reference))
    room = USUAL_BYTES
    for index in range(min(USUAL, len(reference))):
        arrays = [array for call in reference[index] for array in (*call.feeds.values(), *call.outputs.values())]
        room -= sum(array.nbytes for array in arrays)
        if room < 0 and index:
            return index
    return min(USUAL, len(reference))


def _random(export: Export, winner: BuiltCandidate, deviation: float) -> BundleSamples:
    """Return random inputs with the original's outputs; none where the artifact's own outputs on them prove nothing."""
    reference, samples = _synthetic(export)
    task = tasks.load(TaskConfig(tasks.TENSOR), export.model.assets, export.model.part.inputs)
    off_target = bool(export.plan.mismatches) or winner.compiled.portable
    backend = registry.backend(winner.planned.backend)
    with winner.compiled.program.open(backend, off_target=off_target) as runner:
        title = "comparing on random inputs"
        random = gate.evaluate(runner, task, samples, reference, export.progress, title, export.model.part)
    pooled = random.rel_l2 if random.pooled is None else random.pooled
    if not pooled < 1:
        note = (
            f"no sample travels in the bundle: on random inputs its outputs differ too much from the original's "
            f"(relative L2 {pooled:.2g}) to prove anything; only `edgekit verify --data` can check it"
        )
        return BundleSamples(None, 0, NONE, winner.quality, deviation, note)
    quality = replace(winner.quality, outputs=_allowing(winner.quality, random))
    note = f"{len(samples)} random inputs travel in the bundle with the original's outputs, and no sample of the data"
    return BundleSamples(reference, len(samples), SYNTHETIC, quality, max(deviation, pooled), note)


def _allowing(quality: Quality, random: Quality) -> tuple[OutputDeviation, ...]:
    """Return the outputs of `quality`, each with the deviation on random inputs where that is greater."""
    most = {part.name: max(part.rel_l2, part.stored or 0.0) for part in random.outputs}
    return tuple(replace(part, stored=max(part.stored or 0.0, most.get(part.name, 0.0))) for part in quality.outputs)


def _synthetic(export: Export) -> tuple[ReferenceOutputs, Samples]:
    """Return the original's trace on random inputs, and these. Raises UsageError where it does not run on them."""
    model, seed = export.model, export.plan.project.seed
    if not model.is_single:
        raise UsageError(
            f"--samples synthetic is not possible for a model of {len(model.parts)} graphs.", hint="--samples none"
        )
    feeds: Sequence[dict[str, object]] = [
        synthetic_feeds(model.part.inputs, each, model.input_hints) for each in range(seed, seed + USUAL)
    ]
    samples = Samples.from_feeds(feeds, source="random inputs")
    task = tasks.load(TaskConfig(tasks.TENSOR), model.assets, model.part.inputs)
    work = export.builder.enter_context(cache.workdir("samples"))
    try:
        record(export.builder.original(), task, samples, work, export.progress)
    except EdgekitError as error:
        raise UsageError(
            f"--samples synthetic is not possible: the model does not run on random inputs. {error.message}",
            hint="--samples none, or a number",
        ) from error
    return ReferenceOutputs(work, task, samples), samples
