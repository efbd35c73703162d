"""Faults in a choice of calibration or training samples that the samples themselves show."""

from __future__ import annotations

from collections import Counter

from edgekit.data.content import digest_of_content
from edgekit.data.draw import classes_of
from edgekit.data.samples import Samples


def advise(calibration: Samples, evaluation: Samples) -> tuple[str, ...]:
    """Return notes on what makes ranges or scores unreliable: copies, one class only, samples on both sides.

    Samples are compared by content, without their labels.
    """
    notes = []
    counted = Counter(digest_of_content(sample.fields) for sample in calibration)
    size = len(calibration)
    if size > 1 and len(counted) == 1:
        notes.append(f"all {size} calibration samples are the same: their ranges are those of one sample")
    elif copies := size - len(counted):
        notes.append(f"{copies} of {size} calibration samples are copies of others: they add nothing to the ranges")
    classes = classes_of(calibration.labels) if calibration.labels is not None else None
    if classes is not None and len(classes) == 1 and size > 1:
        notes.append(f"every calibration sample has the same label, '{classes[0]}': others may be outside the ranges")
    shared = sum(digest_of_content(sample.fields) in counted for sample in evaluation)
    if shared:
        notes.append(
            f"{shared} of {len(evaluation)} evaluation samples are calibration samples too: int8 is evaluated on what "
            "it was fitted to"
        )
    return tuple(notes)


def advise_training(training: Samples, evaluation: Samples) -> tuple[str, ...]:
    """Return a note on evaluation samples that are trained on too; they stay on both sides, as the user gave them."""
    evaluated = Counter(digest_of_content(sample.fields) for sample in evaluation)
    trained = {digest for sample in training if (digest := digest_of_content(sample.fields)) in evaluated}
    shared = sum(evaluated[digest] for digest in trained)
    if not shared:
        return ()
    return (
        f"{shared} of {len(evaluation)} evaluation samples are training samples too: the model is evaluated on what "
        "it was fitted to",
    )
