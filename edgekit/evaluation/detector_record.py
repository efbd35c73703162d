"""The record of a detector: the family that its graph's shapes show, where neither the model nor the user names one."""

from __future__ import annotations

from dataclasses import replace

from edgekit import tasks
from edgekit.data import Samples
from edgekit.errors import UsageError
from edgekit.model import Model
from edgekit.project import Project
from edgekit.tasks import boxes, detector_guess, detectors
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.metrics import BOX_METRICS


def has_boxes(samples: Samples | None) -> bool:
    """Return whether the first label that there is is made of boxes."""
    labels = samples.labels if samples is not None else None
    first = next((label for label in labels or () if label is not None), None)
    return isinstance(first, dict) and {"boxes", "classes"} <= set(first)


def described(
    project: Project, config: TaskConfig, model: Model, samples: Samples | None
) -> tuple[TaskConfig, tuple[str, ...]]:
    """Return the record of a detector with its decoding, and notes on what was inferred.

    A detector whose outputs are not understood keeps the task, and its outputs are compared. Raises UsageError where
    boxes are needed of it: for labels, or for a metric of boxes.
    """
    notes: tuple[str, ...] = ()
    if config.detection is None:
        guess = None
        if model.is_single:
            count = len(config.labels) or len(_names(samples)) or None
            guess = detector_guess.guess(model.part.inputs, model.part.outputs, count)
        if guess is None:
            if has_boxes(samples) or project.metric in BOX_METRICS:
                outputs = ", ".join(map(str, model.part.outputs)) if model.is_single else "those of several graphs"
                raise UsageError(
                    f"it is not clear how the outputs of the model become boxes: {outputs}.", hint=boxes.DESCRIBE
                )
            return config, ()
        image = config.image or guess.image
        config = replace(config, detection=guess.detection, image=image, no_preprocessing=None)
        notes = (
            f"the outputs have the shape of {guess.family}'s, and were read so, with its preprocessing; where that is "
            "wrong, describe the detector (--processor detector.toml)",
        )
        if not config.labels and guess.classes == len(detectors.COCO) and not _names(samples):
            config = replace(config, labels=detectors.COCO)
            notes = (*notes, "its 80 classes without names are taken to be COCO's; name others with --labels")
    config = _named(config, samples)
    if samples is not None and config.labels and not set(_names(samples)) <= set(config.labels):
        _check_classes(config, model, samples)
    return config, notes


def _check_classes(config: TaskConfig, model: Model, samples: Samples) -> None:
    """Raise UsageError where a labelled box is of a class that the model does not have; a file may name more classes
    than it uses.
    """
    task = tasks.load(replace(config, metric=None), model.assets, model.inputs, samples.classes)
    for label in samples.labels or ():
        if label is not None:
            task.label(label)


def _names(samples: Samples | None) -> tuple[str, ...]:
    """Return the names that the data has of its classes; empty where it has numbers."""
    classes = samples.classes if samples is not None else ()
    return tuple(classes) if all(isinstance(name, str) for name in classes) else ()


def _named(config: TaskConfig, samples: Samples | None) -> TaskConfig:
    """Return the record with the data's names where the model has none and as many: the bundle has them too."""
    names = _names(samples)
    return replace(config, labels=names) if names and not config.labels else config
