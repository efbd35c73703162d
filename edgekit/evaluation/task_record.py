"""The record of the task that candidates are judged by: the model's own, the project's settings, and what the graph and
the data show. The bundle holds the same record, so the device answers as the export was judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgekit import tasks
from edgekit.data import Samples, require_labels
from edgekit.errors import UsageError
from edgekit.evaluation.detector_record import described, has_boxes
from edgekit.model import Model
from edgekit.project import Project
from edgekit.spec import TensorSpec
from edgekit.tasks import detectors
from edgekit.tasks.config import Generation, TaskConfig
from edgekit.tasks.labels import Classes, is_whole, one_hot
from edgekit.tasks.metrics import BOX_METRICS, CLASS_METRICS, METRICS, NUMBER_METRICS, TEXT_METRICS
from edgekit.tasks.outputs import FLOATS, check_output, scores_of, width
from edgekit.tasks.own_metric import is_function, recorded

BY_RANK = {2: "tabular-classification", 3: "audio-classification", 4: "image-classification"}
"""The task of a classifier without preprocessing, by the dimensions of its input."""


def task_record(project: Project, model: Model, samples: Samples | None = None) -> tuple[TaskConfig, tuple[str, ...]]:
    """Return the record of the task, and notes on what was inferred from the graph and the samples.

    Raises UsageError where labels would not be used because the task is unknown, and where the graph does not show
    which output holds a classifier's scores.
    """
    config = TaskConfig.load(model.assets) or TaskConfig(project.task or model.task or tasks.TENSOR)
    notes: list[str] = []
    if project.task:
        config = replace(config, task=project.task)
    if project.metric:
        config = replace(config, metric=project.metric)
        config = recorded(config) if is_function(project.metric) else config
    if project.text_columns and config.text:
        config = replace(config, text=replace(config.text, columns=project.text_columns))
    if project.output_name:
        config = replace(config, output=check_output(project.output_name, model.part.outputs).name)
    if project.labels:
        config = replace(config, labels=project.labels, numbers="names" if all(map(is_whole, project.labels)) else None)
    boxed = project.metric in BOX_METRICS or (has_boxes(samples) and not is_function(config.metric))
    if config.task == tasks.TENSOR and not project.task and boxed:
        config = replace(config, task=detectors.TASK)
        notes.append(f"no task is named: the labels are boxes, so the model was judged as {detectors.TASK}")
    if config.task == detectors.TASK:
        config, more = described(project, config, model, samples)
        notes += more
        return config, tuple(notes)
    if config.task == tasks.TENSOR and not project.task and samples is not None and _wants_a_task(project, samples):
        config = replace(config, task=_inferred(project, config, model, samples))
        notes.append(
            f"no task is named: the labels are classes of the output '{config.output or _scores(config, model).name}', "
            f"so the model was judged as {config.task} (--task tensor compares outputs alone)"
        )
    if config.generation is not None:
        notes += _generation_notes(config.generation)
    if config.task in tasks.CLASSIFICATION:
        config, more = _classifier(project, config, model, samples)
        notes += more
    elif config.output is None and config.task in tasks.OWN and config.task != tasks.TENSOR and len(model.parts) == 1:
        config = replace(config, output=_first_answer(model.part.given))
    return config, tuple(notes)


def _first_answer(outputs: Sequence[TensorSpec]) -> str | None:
    """Return the output that answers in place of a first one of integers, which are decisions; None: the first does."""
    if not outputs or outputs[0].dtype in FLOATS or all(spec.dtype not in FLOATS for spec in outputs):
        return None
    return scores_of(outputs).name


def _generation_notes(generation: Generation) -> list[str]:
    """Return which of the model's settings are not followed, and what the metric is of where it has beams."""
    notes = []
    if names := generation.not_followed:
        notes.append(f"generation_config.json sets {', '.join(names)}, which edgekit does not follow")
    if generation.beams > 1:
        notes.append(f"candidates were judged on greedy text; the bundle generates with {generation.beams} beams")
    return notes


def _wants_a_task(project: Project, samples: Samples) -> bool:
    """Return whether something is given that a tensor's task has no use for."""
    named = project.metric is not None and not is_function(project.metric)
    return named or bool(project.labels) or (samples.labelled and project.metric is None)


def _inferred(project: Project, config: TaskConfig, model: Model, samples: Samples) -> str:
    """Return the classification that labels and outputs show. Raises UsageError where they do not show one."""
    if project.metric:
        require_labels(samples, f"to compute {project.metric}")
    why = _why_not(config, model, samples)
    name = _task_name(config, model.part.inputs)
    if why or name is None:
        what = f"the metric '{project.metric}'" if project.metric in METRICS else f"the labels of '{samples.source}'"
        hint = _hint(name or "image-classification", config, samples, model)
        tensor = "" if project.metric or "--task tensor" in hint else "; --task tensor compares the outputs alone"
        raise UsageError(
            f"{what} cannot be used: the model's task is not named, and cannot be inferred: "
            f"{why or 'its inputs are not those of a classifier'}.",
            hint=f"{hint}{tensor}",
        )
    return name


def _why_not(config: TaskConfig, model: Model, samples: Samples) -> str:
    """Return why the labels are not classes of one output; empty where they are."""
    try:
        spec = _scores(config, model)
    except UsageError as fault:
        return fault.message.rstrip(".")
    if config.metric in TEXT_METRICS:
        return "it generates no text"
    if config.metric not in (None, *CLASS_METRICS):
        return ""  # a correlation: the labels are numbers
    count = width(spec)
    if count is None:
        return f"the number of classes in the output '{spec}' is free"
    labels = [label for label in samples.labels or () if label is not None]
    rows = [one_hot(label) for label in labels]
    if rows and all(row is not None for row in rows):
        return "" if len(labels[0]) == count else f"one-hot labels of {len(labels[0])} values, and '{spec}' has {count}"
    classes = samples.classes
    if not classes:
        return "the labels are not classes"
    if count < 2:
        return f"the output '{spec}' is one number: a score of two classes, or a value"
    if config.labels or all(isinstance(label, str) and not is_whole(label) for label in classes):
        names = Classes.of(config.labels, classes, numbers_are_names=config.numbers == "names")
        if len(names.names) != count:
            return f"{len(names.names)} class names, and '{spec}' has {count}"
        return ""
    numbers = [int(label) for label in classes if not isinstance(label, str) or is_whole(label)]
    if len(numbers) == len(classes) and (0 <= min(numbers) <= max(numbers) < count or _counts_all(classes, count)):
        return ""
    return f"the labels are {_shown(classes)}, and '{spec}' has {count} classes, which count from 0"


def _hint(name: str, config: TaskConfig, samples: Samples, model: Model) -> str:
    """Return what lets the labels be used: an output where several may answer, a task for classes, a metric for
    measurements and for arrays.
    """
    labels = [label for label in samples.labels or () if label is not None]
    if any(getattr(label, "ndim", 0) or isinstance(label, (list, tuple)) for label in labels):
        return "judge by them with --metric package.module:function"
    if not samples.classes:
        return "for numbers judge by --metric spearman or pearson"
    try:
        spec = _scores(config, model)
    except UsageError as fault:
        return fault.hint or f"name it with --task {name}"
    if width(spec) == 1:
        return (
            f"name it with --task {name} for a score of two classes; for values judge by --metric spearman or pearson"
        )
    return f"name it with --task {name}"


def _counts_all(classes: Sequence[Any], count: int) -> bool:
    """Return whether the labels are all classes of `count`, not counted from 0: 1 to n, or the names of folders."""
    if len(classes) != count:
        return False
    return isinstance(classes[0], str) or [int(label) for label in classes] == list(range(1, count + 1))


def _task_name(config: TaskConfig, inputs: Sequence[TensorSpec]) -> str | None:
    if config.image is not None:
        return "image-classification"
    if config.text is not None or any(spec.name == "input_ids" for spec in inputs):
        return "text-classification"
    return BY_RANK.get(len(inputs[0].shape)) if inputs and inputs[0].dtype.startswith(("f", "u", "i")) else None


def _scores(config: TaskConfig, model: Model) -> TensorSpec:
    """Return the output that holds the scores. Raises UsageError where the graph does not show it, and for integers."""
    outputs = model.part.given
    if config.output is None:
        return scores_of(outputs)
    spec = check_output(config.output, outputs)
    return scores_of([spec])


def _classifier(
    project: Project, config: TaskConfig, model: Model, samples: Samples | None
) -> tuple[TaskConfig, tuple[str, ...]]:
    """Return the record of a classifier with its output, its activation, its classes' names and its metric."""
    if not model.part.given:
        return _with_names(project, config, samples, None)
    spec = _scores(config, model)
    config = replace(config, output=spec.name)
    if config.activation is None and config.problem_type is None and spec.name in model.output_hints.probabilities:
        config = replace(config, activation="probabilities")
    count = width(spec)
    classes = 2 if count == 1 else count
    if config.problem_type is None and project.labels and classes is not None and classes != len(project.labels):
        raise UsageError(
            f"--labels names {len(project.labels)} classes, and the model has {classes} (output '{spec}').",
            hint="name every class once, in the order of the output",
        )
    config, notes = _with_names(project, config, samples, classes)
    default = config.metric is None and config.problem_type is None
    if default and config.task == "tabular-classification" and (classes or len(config.labels)) > 2:
        config = replace(config, metric="accuracy")  # AUC compares two classes
    return config, notes


def _with_names(
    project: Project, config: TaskConfig, samples: Samples | None, count: int | None
) -> tuple[TaskConfig, tuple[str, ...]]:
    """Return the record with the class names of the data where the model has none, so that the bundle has them too, and
    with the positive class.
    """
    data = samples.classes if samples is not None else ()
    classes = Classes.of(config.labels, data, numbers_are_names=config.numbers == "names")
    notes: tuple[str, ...] = ()
    if classes.from_data:
        if config.labels:
            classes.check_count(len(config.labels))
        if project.positive_class is None:
            shown = ", ".join(classes.names[:5]) + (", ..." if len(classes.names) > 5 else "")
            notes = (f"the model has no class names: the data's labels in sorted order are used as 0, 1, ...: {shown}",)
        config = replace(config, labels=classes.names)
    elif config.metric not in NUMBER_METRICS and config.problem_type is None:
        notes = classes.check(data)
    if project.positive_class is None:
        return config, notes
    return _with_positive(project.positive_class, config, classes, data, count), notes


def _with_positive(
    positive: str, config: TaskConfig, classes: Classes, data: Sequence[Any], count: int | None
) -> TaskConfig:
    """Return the record with the positive class, which is the metric's; where the order of the classes is a guess, from
    the data's names, it gets the index 1.
    """
    names = classes.names or tuple(map(_plain, data))
    if len(names) != 2 or count not in (None, 2):
        raise UsageError(
            f"--positive-class is for two classes, and there are {len(names) if len(names) != 2 else count}.",
            hint="leave it out; f1-macro is the mean over all classes: --metric f1-macro",
        )
    if positive not in names:
        raise UsageError(f"the class '{positive}' is neither '{names[0]}' nor '{names[1]}'.",
                         hint=f"--positive-class {names[1]}")  # fmt: skip
    if not classes.from_data:
        return replace(config, positive=positive)
    return replace(config, labels=(names[1 - names.index(positive)], positive))


def _plain(label: Any) -> str:
    """Return a label as text: a class that is a number, a truth value or a whole float by its number."""
    return label if isinstance(label, str) else str(int(label))


def _shown(classes: Sequence[Any]) -> str:
    return ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
