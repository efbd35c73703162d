"""Tasks of a model of several graphs, or with states, whose author describes its calls (`TaskConfig.calls`).

`Chain` calls each graph once, and a recurrent last one for each step of the sample. `Looped` calls the last one for
each token, by greedy search.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError
from edgekit.spec import Call, TensorSpec
from edgekit.tasks import decoding
from edgekit.tasks.chrf import chrf
from edgekit.tasks.config import SEQ2SEQ, Calls, Generation, TaskConfig
from edgekit.tasks.metrics import check_metric
from edgekit.tasks.task import Prediction, Task
from edgekit.tasks.tensor import Tensors, fit, summary
from edgekit.tasks.text import IDS, Texts, read_tokenizer

if TYPE_CHECKING:
    import numpy as np

EXACT = "exact-match"

METRICS = (EXACT, "chrf")
"""Metrics of texts: the share that is equal to its label, and the F-score of their n-grams of characters."""


def load(config: TaskConfig, assets: Path, calls: Calls) -> Task:
    """Return the task that makes the calls. Raises UsageError for a task or a metric that it is not."""
    names = SEQ2SEQ if config.generation is not None else ("tensor",)
    if config.task not in names:
        raise UsageError(
            f"the task '{config.task}' is not one of a model whose author names its graphs"
            f"{' and a loop' if config.generation is not None else ''}.",
            hint=f"leave --task out, or give --task {names[-1]}",
        )
    if config.generation is None:
        if config.metric is not None:
            check_metric(config.metric, (), config.task)
        return Chain(config, calls)
    if config.metric is not None:
        check_metric(config.metric, METRICS, config.task)
    return Looped(config, calls, assets, config.metric or EXACT)


def _of_sample(inputs: Sequence[TensorSpec], fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the inputs of one call, which a sample has by their names."""
    (feeds,) = Tensors(inputs)(Sample(dict(fields)))
    return feeds


@dataclass(frozen=True, eq=False)
class Chain:
    """Tensors to tensors, one call of each graph, and of a recurrent last one for each step."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = False
    metric: ClassVar[str | None] = None

    config: TaskConfig
    calls: Calls

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        *once, last = self.calls.parts
        for part in once:
            yield part.name, _of_sample(part.inputs, self._fields(part.inputs, sample))
        fields = self._fields(last.inputs, sample)
        if not self.calls.recurrent:
            yield last.name, _of_sample(last.inputs, fields)
            return
        stepped = {spec.name for spec in last.inputs if _has_steps(fields.get(spec.name), spec)}
        lengths = {name: len(fields[name]) for name in stepped}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
            raise UsageError(f"the inputs of a sample have different numbers of steps: {shown}.",
                             hint="give each the same number of steps")  # fmt: skip
        for step in range(next(iter(lengths.values()), 1)):
            at_step = {name: value[step] if name in stepped else value for name, value in fields.items()}
            yield last.name, _of_sample(last.inputs, at_step)

    def _fields(self, inputs: Sequence[TensorSpec], sample: Sample) -> dict[str, Any]:
        fields = dict(sample.fields)
        fed = [spec.name for part in self.calls.parts for spec in part.inputs]
        if len(fields) == len(fed) == 1 and fed[0] not in fields:
            return {fed[0]: next(iter(fields.values()))}
        return {spec.name: fields[spec.name] for spec in inputs if spec.name in fields} or fields

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        return Prediction(None)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return a summary of each output, of its values at every step."""
        import numpy as np

        arrays: dict[str, list[np.ndarray]] = {}
        for call in outputs:
            for name, array in call.items():
                arrays.setdefault(name, []).append(array)
        return {
            "outputs": {name: summary(each[0] if len(each) == 1 else np.stack(each)) for name, each in arrays.items()}
        }

    def label(self, raw: Any) -> Any:
        return raw

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        raise UsageError(
            f"the task '{self.config.task}' has no metric here: outputs are compared with the original's.",
            hint="leave --metric out",
        )


def _has_steps(value: Any, spec: TensorSpec) -> bool:
    """Return whether an array of a sample has one dimension more than a call takes: its first are the steps.

    A call takes one sample, so where the batch is written out as 1 or left out, more in its place are steps too.
    """
    shape: tuple[int, ...] = getattr(value, "shape", ())
    if not shape or len(shape) != len(spec.shape):
        return len(shape) == len(spec.shape) + 1
    return shape[0] > 1 and (isinstance(spec.shape[0], str) or spec.shape[0] == 1)


@dataclass(frozen=True, eq=False)
class Looped:
    """A text or ids to tokens: each graph once, and the last one token by token."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True

    config: TaskConfig
    calls: Calls
    assets: Path
    metric: str

    @property
    def generation(self) -> Generation:
        assert self.config.generation is not None, "`load` makes this task of a model that generates"
        return self.config.generation

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        """Yield a call of each graph, and those of the last by greedy search."""
        import numpy as np

        *once, last = self.calls.parts
        fields = self._fields(sample)
        for part in once:
            yield part.name, _of_sample(part.inputs, {spec.name: fields.get(spec.name) for spec in part.inputs})
        (token,) = (spec for spec in last.inputs if spec.name == self.calls.token)
        others = [spec for spec in last.inputs if spec is not token]
        feeds = _of_sample(others, {spec.name: fields.get(spec.name) for spec in others}) if others else {}
        search = decoding.greedy(self.generation)
        try:
            step = next(search)
            while True:
                ids = np.array(step.tokens[0][-1:]).reshape((1,) * len(token.shape))
                outputs = yield last.name, {token.name: fit(ids, token), **feeds}
                step = search.send(self._scores(outputs)[None])
        except StopIteration:
            return

    def _scores(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the scores of the next token: those of the last position, where there are several."""
        array = outputs[self.config.output] if self.config.output else next(iter(outputs.values()))
        scores: np.ndarray = array.reshape(-1, array.shape[-1])[-1]
        return scores

    def _fields(self, sample: Sample) -> dict[str, Any]:
        """Return the inputs that the sample has: the ids of its text, and the arrays by their names."""
        arrays = {name: value for name, value in sample.fields.items() if hasattr(value, "shape")}
        name = self.calls.text
        if name is None or name in arrays:
            return arrays
        inputs = [replace(spec, name=IDS) for spec in self.calls.parts[0].inputs if spec.name == name]
        prepare = Texts(self.config.text, self.assets, inputs)  # type: ignore[arg-type]  # it comes with `text`
        if len(prepare.texts(sample)) > 1:
            raise UsageError(
                f"the task '{self.config.task}' takes one text, two are given.",
                hint="name its column with --text-column",
            )
        (feeds,) = prepare(sample)
        return {**arrays, name: feeds[IDS]}

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the text that greedy search takes from the outputs, and its tokens."""
        settings, ids = self.generation, [self.generation.start]
        for each in outputs[len(self.calls.parts) - 1 :]:
            ids.append(decoding.choose(settings, ids, self._scores(each)))
        return Prediction(self.text(ids[1:]), choices=tuple(ids[1:]))

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens; the ids themselves where the model has no symbols."""
        if self._target is None:
            return " ".join(str(each) for each in ids if each not in self.generation.stops)
        text: str = self._target.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    @functools.cached_property
    def _target(self) -> Any:
        path = self.assets / self.generation.tokenizer
        return read_tokenizer(path) if path.is_file() else None

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        return {"text": str(self.predict(outputs).value)}

    def label(self, raw: Any) -> str:
        return " ".join(str(raw).split())

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        texts = [str(prediction.value) for prediction in predictions]
        if self.metric == "chrf":
            return chrf(texts, labels)
        return sum(text == str(label) for text, label in zip(texts, labels, strict=True)) / len(labels)
