"""The protocol of a task: from a sample to feeds, from outputs to an answer, and its metric."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from edgekit.data import Problem, Sample
from edgekit.spec import MODEL, Call
from edgekit.tasks.config import Generation, TaskConfig

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


@dataclass(frozen=True)
class Prediction:
    """The prediction for a sample: the value that is compared with a label, and the scores behind it."""

    value: Any
    """A class index, a similarity, or None where the task has no single answer."""
    scores: np.ndarray | None = None
    """Class probabilities, for metrics that rank."""
    outputs: Mapping[str, np.ndarray] | None = None
    """The outputs themselves, for a metric of the user's own."""
    choices: tuple[int, ...] | None = None
    """The choice of each call, where a sample needs several and each depends on the one before: agreement counts them,
    and a metric needs calls that follow the model's own choices."""
    several: bool = False
    """Whether `value` holds an answer for each of several words or pixels, which agreement counts one by one."""


class Preparation(Protocol):
    """A function from a sample to the model's inputs, one dict for each call."""

    def __call__(self, sample: Sample) -> list[dict[str, np.ndarray]]: ...


class Task(Protocol):
    """A task: from a sample to an answer and a score."""

    @property
    def config(self) -> TaskConfig: ...
    @property
    def metric(self) -> str | None:
        """The name of the metric that is computed where there are labels; None where the task has none."""
        ...

    @property
    def compares_top(self) -> bool:
        """Whether `Prediction.value` is a class, so that top-1 agreement has a meaning."""
        ...

    @property
    def problem(self) -> Problem:
        """What a model is trained to predict: one class, several classes, a number, or only outputs."""
        ...

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        """Yield the calls that the sample needs, each of batch size 1, and receive the outputs of each by `send`.

        Most tasks need one call of the part `model`; a pair of texts may need two.
        """
        ...

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the prediction of the outputs of those calls; tasks on places in a text or a picture need the sample
        too.
        """
        ...

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return the answer for a person, as plain JSON values; tasks on tokens give more where `sample` is given."""
        ...

    def label(self, raw: Any) -> Any:
        """Return what `Prediction.value` is compared with for a label of the data (a name, a number, text).

        Raises UsageError for a label that the model does not have.
        """
        ...

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        """Return the metric's value. Raises UsageError where it is undefined, as AUC on one class."""
        ...


@runtime_checkable
class SeveralOutputs(Protocol):
    """A task whose answer is read from every output of the model, not from one."""

    @property
    def reads_every_output(self) -> bool: ...


@runtime_checkable
class Drawing(Protocol):
    """A task whose answer can be drawn into the picture that it is of."""

    def draw(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample) -> Image:
        """Return a picture with the answer in it."""
        ...


class Stepping(Protocol):
    """What a task that generates needs of the runner of a model's parts."""

    def start(self) -> Run:
        """Forget every state, and return `run`."""
        ...

    def run(self, part: str, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]: ...

    def reorder(self, order: Sequence[int], part: str | None = None) -> None:
        """Take the rows of the states by their numbers, of those that `part` reads or of all."""
        ...

    def grown_bytes(self, tokens: int, rows: int = 1) -> int:
        """Return the bytes of the states that start empty once they hold so many tokens of each row."""
        ...


@runtime_checkable
class Generating(Protocol):
    """A task whose answer is generated call by call, in another way than the steps that are recorded."""

    continues: ClassVar[bool]
    """Whether the answer continues the user's text, so that it is shown as it is generated."""

    @property
    def generation(self) -> Generation:
        """How the model generates."""
        ...

    def stream(self, sample: Sample, runner: Stepping, *, seed: int = 0) -> Iterator[int]:
        """Yield the ids that are generated for a sample, each as soon as it is known, as the model's settings ask."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        ...

    def generated(self, ids: Sequence[int]) -> dict[str, Any]:
        """Return the answer for a person: what was generated, as plain JSON values."""
        ...


class OnePart:
    """The base of tasks that call one part, where no call depends on the outputs of another."""

    prepare: Preparation

    def feeds(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        """Return the inputs of each call that the sample needs."""
        return self.prepare(sample)

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        for feeds in self.feeds(sample):
            yield MODEL, feeds


@dataclass(frozen=True)
class Inference:
    """A call of a model, and its outputs."""

    part: str
    feeds: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]

    @property
    def call(self) -> Call:
        return self.part, self.feeds


Run = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""A function from a call, a part's name and its feeds, to its outputs."""


def drive(task: Task, sample: Sample, run: Run) -> list[Inference]:
    """Run a sample through a model, call by call as its task yields them, and return each call with its outputs.

    All code that runs a task's steps uses this function: recording the original, answering a user, timing from end to
    end. Candidates replay what was recorded.
    """
    steps = task.steps(sample)
    inferences: list[Inference] = []
    try:
        part, feeds = next(steps)
        while True:
            inferences.append(Inference(part, feeds, run(part, feeds)))
            part, feeds = steps.send(inferences[-1].outputs)
    except StopIteration:
        return inferences
