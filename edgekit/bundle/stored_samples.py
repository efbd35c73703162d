"""The outputs of a bundle on its stored samples, compared with those of the original model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgekit.bundle.bundle import Bundle
from edgekit.bundle.manifest import AGAIN
from edgekit.errors import ArtifactError, UsageError
from edgekit.evaluation.gate import Deviation
from edgekit.progress import Progress
from edgekit.result.report import Check, Quality
from edgekit.spec import MODEL, check_feeds

if TYPE_CHECKING:
    from edgekit.tasks.task import Run

STORED = "stored samples"
"""The name of the check that compares outputs with those in the bundle."""

ROUNDING = 1e-3
"""What another processor's order of sums may add to the deviation that the bundle had at export."""


def on_stored_samples(bundle: Bundle, run: Run, progress: Progress) -> Quality:
    """Run the stored samples with `run` and return how much the outputs deviate from the original's.

    Raises ArtifactError for a bundle without stored samples, and for samples that do not fit the model.
    """
    stored = bundle.samples()
    if not stored:
        raise ArtifactError(
            f"the bundle '{bundle.path}' has no stored samples, so nothing can be compared.", hint=AGAIN
        )
    limit = _limit(bundle)
    deviation = Deviation()
    with progress.step("verifying the stored samples", len(stored)) as tick:
        for index, (feeds, outputs) in enumerate(stored):
            with _sample_fault(index, bundle):
                check_feeds(bundle.payload.part.inputs, feeds)
            actual = run(MODEL, feeds)
            with _sample_fault(index, bundle):
                deviation.add(outputs, actual)
            tick()
    meaning = (
        f"relative L2 {deviation.rel_l2:.2g} to the original's outputs; "
        f"{bundle.manifest.deviation:.2g} at export, at most {limit:.2g} here"
    )
    check = Check(STORED, deviation.rel_l2, limit, deviation.rel_l2 <= limit, meaning)
    return Quality(
        samples=len(stored),
        labelled=0,
        max_abs=deviation.max_abs,
        rel_l2=deviation.rel_l2,
        cosine=deviation.cosine,
        agreement=None,
        checks=(check,),
        reference=original.reference if (original := exported_quality(bundle)) else "the original model",
    )


@contextlib.contextmanager
def _sample_fault(index: int, bundle: Bundle) -> Iterator[None]:
    """Turn what a stored sample that is not the model's makes its reader raise into ArtifactError."""
    try:
        yield
    except (UsageError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"the stored sample {index} of '{bundle.path}' does not fit the model: {error}", hint=AGAIN
        ) from error


def _limit(bundle: Bundle) -> float:
    """Return the greatest deviation on this machine: twice that at export, but always nearer to it than to 1, which is
    that of outputs without any content (all zero).

    Raises ArtifactError for a deviation at export that proves nothing.
    """
    deviation = bundle.manifest.deviation
    if not 0 <= deviation < 1:
        raise ArtifactError(
            f"the deviation {deviation:g} in the manifest of '{bundle.path}' is not possible: it must be between 0 and "
            "1, as outputs that are all zero have 1.",
            hint="export it again",
        )
    return min(2 * deviation + ROUNDING, (deviation + 1) / 2)


def exported_quality(bundle: Bundle) -> Quality | None:
    """Return the quality of the shipped candidate at export, None where the report does not have it."""
    shipped = bundle.report().shipped
    return shipped.quality if shipped else None
