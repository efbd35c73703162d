"""The outputs of a bundle on its stored samples, compared with those of the original model."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.bundle import stored_checks
from edgekit.bundle.bundle import Bundle
from edgekit.bundle.manifest import AGAIN
from edgekit.errors import ArtifactError, UsageError, nearest
from edgekit.evaluation.deviation import Deviation
from edgekit.evaluation.free_sizes import FIXED, free_sizes
from edgekit.model import Part
from edgekit.progress import Progress
from edgekit.result.report import Quality
from edgekit.spec import Call, check_feeds

if TYPE_CHECKING:
    import numpy as np

Replay = Callable[[Sequence[Call]], "Sequence[Mapping[str, np.ndarray]]"]
"""Runs the calls of one sample and returns the outputs of each."""


def compared(bundle: Bundle, replay: Replay, progress: Progress, *, with_data: bool) -> Quality:
    """Return the comparison with the stored samples; without checks for a bundle that only data can verify: it stores
    none on purpose, or its outputs on them were as far from the original's as zeros are.
    """
    if bundle.manifest.stored == 0:
        why = "stores no samples"
    elif with_data and bundle.manifest.deviation >= 1:
        why = "stores samples on which its outputs are nothing like the original's"
    else:
        return on_stored_samples(bundle, replay, progress)
    original = exported_quality(bundle)
    if not with_data or original is None or original.original_score is None:
        raise UsageError(
            f"the bundle '{bundle.path}' {why}, so only labelled data can verify it.", hint=_with_data(bundle)
        )
    return Quality(
        samples=0,
        labelled=0,
        max_abs=math.nan,
        rel_l2=math.nan,
        cosine=math.nan,
        agreement=None,
        notes=(f"the bundle {why}: no outputs were compared",),
        reference=original.reference,
    )


def _with_data(bundle: Bundle) -> str:
    return f"edgekit verify {bundle.path} --data DATA, with the data that it was exported with"


def on_stored_samples(bundle: Bundle, replay: Replay, progress: Progress) -> Quality:
    """Run the stored samples with `replay` and return how much the outputs deviate from the original's.

    Raises ArtifactError for a bundle without stored samples, and for samples that do not fit the model.
    """
    stored = bundle.traces()
    if not stored:
        raise ArtifactError(
            f"the bundle '{bundle.path}' has no stored samples, so nothing can be compared.", hint=AGAIN
        )
    _check_deviation(bundle)
    parts, exported = {each.part.name: each.part for each in bundle.manifest.parts}, exported_quality(bundle)
    sizes = FIXED
    if len(parts) == 1:
        calls = ((_shapes(call.feeds), _shapes(call.outputs)) for trace in stored for call in trace)
        sizes = free_sizes(bundle.payload.part, calls)
    deviation = Deviation()
    with progress.step("verifying the stored samples", len(stored)) as tick:
        for index, trace in enumerate(stored):
            with _sample_fault(index, bundle):
                for call in trace:
                    check_feeds(_part(parts, call.part).fed, call.feeds)
            actual = replay([(call.part, call.feeds) for call in trace])
            with _sample_fault(index, bundle):
                for call, outputs in zip(trace, actual, strict=True):
                    deviation.add(call.outputs, outputs, sizes)
            tick()
    return Quality(
        samples=len(stored),
        labelled=0,
        max_abs=deviation.max_abs,
        rel_l2=deviation.rel_l2,
        cosine=deviation.cosine,
        worst=deviation.worst,
        outputs=deviation.parts(),
        agreement=None,
        checks=stored_checks.checks(deviation, bundle.manifest.deviation, exported),
        reference=exported.reference if exported else "the original model",
    )


def _part(parts: Mapping[str, Part], name: str) -> Part:
    if name not in parts:
        raise UsageError(f"the model has no part '{name}'.{nearest(name, parts)}", hint=AGAIN)
    return parts[name]


@contextlib.contextmanager
def _sample_fault(index: int, bundle: Bundle) -> Iterator[None]:
    """Turn what a stored sample that is not the model's makes its reader raise into ArtifactError."""
    try:
        yield
    except (UsageError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"the stored sample {index} of '{bundle.path}' does not fit the model: {error}", hint=AGAIN
        ) from error


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _check_deviation(bundle: Bundle) -> None:
    """Raise ArtifactError for a deviation at export that proves nothing."""
    deviation = bundle.manifest.deviation
    if not 0 <= deviation < 1:
        raise ArtifactError(
            f"the deviation {deviation:g} in the manifest of '{bundle.path}' is not possible: it must be between 0 and "
            "1, as outputs that are all zero have 1.",
            hint=_with_data(bundle) if deviation >= 1 else "export it again",
        )


def exported_quality(bundle: Bundle) -> Quality | None:
    """Return the quality of the shipped candidate at export, None where the report does not have it."""
    shipped = bundle.report().shipped
    return shipped.quality if shipped else None
