"""A metric of the user's own, `package.module:function`: it is called with the outputs of all labelled samples, and the
labels.

    def mean_average_precision(outputs, labels):
        '''outputs: a dict from output name to array for each sample; labels: as they are in the data.'''
        return 0.31  # a number; more is better

Of a task that generates text it is called with the texts in place of the outputs.
It is imported only where it is computed: a bundle runs without it, and is verified on its stored samples.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._record import digest_of_file
from edgekit.data import Problem, Sample
from edgekit.data.function import described, imported
from edgekit.errors import EdgekitError, UsageError
from edgekit.spec import Call
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.task import Prediction, Task

if TYPE_CHECKING:
    import numpy as np

TAKES = "the outputs of all samples, and their labels"


def is_function(metric: str | None) -> bool:
    """Return whether a metric's name refers to a function."""
    return metric is not None and ":" in metric


def recorded(config: TaskConfig) -> TaskConfig:
    """Return the config with the digest of the file of the metric's function. Raises UsageError where it is missing."""
    function = imported(str(config.metric), TAKES)
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    return config if file is None else replace(config, metric_code=digest_of_file(Path(file)))


@dataclass(frozen=True, eq=False)
class OwnMetric:
    """A task with another metric, all else unchanged."""

    task: Task
    metric: str

    @property
    def config(self) -> TaskConfig:
        return replace(self.task.config, metric=self.metric)

    @property
    def compares_top(self) -> bool:
        return self.task.compares_top

    @property
    def problem(self) -> Problem:
        return self.task.problem

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        yield from self.task.steps(sample)

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the task's prediction with the outputs; those of several calls are joined along the first axis."""
        import numpy as np

        joined = {name: np.concatenate([call[name] for call in outputs]) for name in outputs[0]}
        return replace(self.task.predict(outputs, sample), outputs=joined)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        return self.task.answer(outputs, sample)

    def label(self, raw: Any) -> Any:
        return raw if self.config.detection is not None else self.task.label(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        return value(self.metric, [prediction.outputs for prediction in predictions], labels, TAKES)


def value(metric: str, answers: Sequence[Any], labels: Sequence[Any], takes: str) -> float:
    """Return the function's value; `takes` names its arguments in messages.

    Raises UsageError where it fails, or does not return a finite number.
    """
    function = imported(metric, takes)
    try:
        result = function(list(answers), list(labels))
    except EdgekitError:
        raise
    except Exception as error:  # the user's own code
        raise UsageError(
            f"the metric '{metric}' failed: {described(error)}.", hint=f"it is called with two lists: {takes}"
        ) from error
    try:
        number = float(result)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(
            f"the metric '{metric}' returned {result!r}, which is not a finite number.",
            hint="return a number that is greater the better the answers are",
        )
    return number
