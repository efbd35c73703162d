"""Options of a project that would decide nothing are errors: who sets a limit believes that it holds."""

from __future__ import annotations

from edgekit.data import Samples
from edgekit.errors import UsageError
from edgekit.project import Project
from edgekit.tasks import CLASSIFICATION, DETECTION, SEGMENTATION, TAGGING, Task
from edgekit.tasks.own_metric import OwnMetric
from edgekit.tasks.tensor import Raw


def refuse_without_data(project: Project) -> None:
    """Raise UsageError for an option that needs samples, where there are none."""
    given = {
        "--max-drop": project.max_drop is not None,
        "--metric": project.metric is not None,
        "--split": project.split is not None,
        "--text-column": bool(project.text_columns),
        "--label-column": project.label_column is not None,
        "--positive-class": project.positive_class is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{option} would have no effect: no data is given.",
                hint=f"give samples with --data, or leave {option} out",
            )


def refuse(project: Project, task: Task, samples: Samples) -> None:
    """Raise UsageError for an option that would not be used with this task and these samples."""
    judged_by_metric = samples.labelled and task.metric is not None
    inner = task.task if isinstance(task, OwnMetric) else task
    name = task.config.task
    if project.max_drop is not None and not judged_by_metric:
        why = f"the task '{name}' has no metric here" if samples.labelled else f"'{samples.source}' has no labels"
        raise UsageError(
            f"--max-drop would have no effect: {why}, so outputs are compared.",
            hint="leave it out; --min-agreement limits the outputs, or give labels (--label-column) and a --metric",
        )
    if project.min_agreement is not None and judged_by_metric:
        raise UsageError(
            f"--min-agreement would have no effect: the data has labels, and {task.metric} decides.",
            hint="leave it out, and limit the loss with --max-drop 1%",
        )
    if project.text_columns and task.config.text is None:
        raise UsageError(
            f"--text-column would have no effect: the model takes no text (task '{name}').", hint="leave it out"
        )
    if name not in CLASSIFICATION:
        for option, is_given in (
            ("--labels", bool(project.labels) and name not in (TAGGING, DETECTION, *SEGMENTATION)),
            ("--positive-class", project.positive_class is not None),
        ):
            if is_given:
                raise UsageError(
                    f"{option} would have no effect: the task '{name}' has no classes here.",
                    hint="name the task with --task, such as --task image-classification",
                )
    if project.output_name and isinstance(inner, Raw):
        raise UsageError(
            f"--output-name would have no effect: the task '{name}' compares all outputs.",
            hint="name the task with --task, such as --task image-classification",
        )
