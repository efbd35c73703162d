"""Faults of the data that show before the model is loaded, in its files, a table's header and the model's outline.

What is found here costs a second; found later it costs the import of a framework and the export first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit import data, tasks
from edgekit.data import DataRef, Sample, Samples
from edgekit.errors import UsageError
from edgekit.evaluation.dataset import references
from edgekit.evaluation.detector_record import has_boxes
from edgekit.model import Outline, Outlined, Reference
from edgekit.plugin import Source
from edgekit.project import Project
from edgekit.spec import TensorSpec
from edgekit.tasks import box_metrics, text_metrics
from edgekit.tasks.config import AudioConfig, ImageConfig, TaskConfig, TextConfig
from edgekit.tasks.labels import Classes, is_whole
from edgekit.tasks.metrics import BOX_METRICS, METRICS, NUMBER_METRICS, check_metric
from edgekit.tasks.own_metric import is_function, recorded

MOST_PICTURES = 5000
"""The pictures whose headers are read: some 0.1 ms each."""


def check_data(project: Project, source: Source | None, reference: Reference) -> None:
    """Raise UsageError for data that cannot be read or cannot fit the model. No code of the user's is run: data of a
    function is not examined.
    """
    if project.task:
        tasks.check(project.task)
    if project.metric and not is_function(project.metric):
        check_metric(project.metric, METRICS, project.task or "the tasks")
        text_metrics.require(project.metric)
        if project.metric in BOX_METRICS:
            box_metrics.require()
    evaluated, calibrated = references(project)
    training = DataRef(project.train, None, project.text_columns, project.label_column, True) if project.train else None
    outline = source.outline(reference) if isinstance(source, Outlined) else None
    for ref in filter(None, (calibrated, training, evaluated)):
        if not Path(ref.ref).expanduser().exists():
            continue
        samples = data.load(ref)
        if ref is evaluated and project.metric:
            data.require_labels(samples, f"to compute {project.metric}")
        if ref is evaluated and has_boxes(samples) and not is_function(project.metric):
            box_metrics.require()
        if outline is not None:
            _check_inputs(project, outline, samples)
        if outline is not None and ref is evaluated:
            _check_labels(project, outline, samples)


def check_metric_code(project: Project) -> None:
    """Raise UsageError where a metric of the user's own cannot be imported; its module is run."""
    if is_function(project.metric):
        recorded(TaskConfig(tasks.TENSOR, metric=project.metric))


def _check_inputs(project: Project, outline: Outline, samples: Samples) -> None:
    """Raise UsageError for samples without the texts, pictures or sounds that the model takes, and for damaged
    pictures.
    """
    first = samples[0]
    if _is_prepared(first):
        return
    if outline.takes == "texts":
        from edgekit.tasks.text import Texts

        Texts(TextConfig(columns=project.text_columns), Path(), ()).texts(first)
    elif outline.takes == "pictures":
        from edgekit.tasks.image import Pictures

        Pictures(ImageConfig(), (TensorSpec("pixel_values", "f32", ("batch", 3, "height", "width")),)).find(first)
        _check_pictures(samples.take(MOST_PICTURES, project.seed))
    elif outline.takes == "sounds":
        from edgekit.data.sound import read_sound
        from edgekit.tasks.audio import Sounds

        config = AudioConfig()
        name, value = Sounds(config, (TensorSpec(config.input, "f32", ("batch", "samples")),)).find(first)
        read_sound(value, config.rate, name)


def _check_pictures(samples: Samples) -> None:
    """Raise UsageError where the header of a picture does not read, with all pictures that do not open."""
    try:
        data.check_pictures(samples, decode=False)
    except UsageError:
        data.check_pictures(samples)
        raise


def _is_prepared(sample: Sample) -> bool:
    """Return whether a sample holds arrays, which are fed as they are."""
    return any(hasattr(value, "dtype") for value in sample.fields.values())


def _check_labels(project: Project, outline: Outline, samples: Samples) -> None:
    """Raise UsageError for a label that a classifier does not have."""
    task = project.task or outline.task or ""
    if not outline.labels or not samples.classes or task not in tasks.CLASSIFICATION:
        return
    if project.metric in NUMBER_METRICS or is_function(project.metric):
        return
    if project.labels:  # the user names the classes: they are compared with the graph once it is there
        return
    classes = Classes.of(outline.labels, samples.classes)
    whole = all(is_whole(str(label)) for label in samples.classes)
    if (classes.unnamed and whole) or classes.numbered(samples.classes):
        return  # the original's own answers show how numbers are meant (class_order.py)
    if classes.from_data:
        classes.check_count(len(outline.labels))
        return
    _check_start(samples, samples.classes, len(outline.labels))
    for label in samples.classes:
        classes.index(label)


def _check_start(samples: Samples, labels: Sequence[Any], count: int) -> None:
    """Raise UsageError for labels that count the model's classes from 1."""
    if all(isinstance(label, int) for label in labels) and min(labels) > 0 and max(labels) == count:
        raise UsageError(
            f"the labels of '{samples.source}' go up to {count}, and the model's {count} classes count from 0.",
            hint="subtract 1 from each label in the data, or write the classes' names in place of the numbers",
        )
