"""The answers of a bundle: raw inputs in, the task's answers out, with the bundle's own preprocessing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.data import Sample
from edgekit.errors import UsageError
from edgekit.runner import Runner
from edgekit.tasks import Task, drive, user_input
from edgekit.tasks.chat import is_messages
from edgekit.tasks.generating import Asked, asked, pieces
from edgekit.tasks.task import Drawing, Generating

if TYPE_CHECKING:
    from edgekit.tasks.drawing import Image


@dataclass
class Generated:
    """The times of one generated text."""

    tokens: int = 0
    first_ms: float | None = None
    """From the call to the first token: what the prompt takes. None for beams, whose tokens come at the end."""
    total_ms: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """The tokens after the first by the time after it, of beams all by all; None for too few."""
        after = 0 if self.first_ms is None else 1
        seconds = (self.total_ms - (self.first_ms or 0.0)) / 1e3
        return (self.tokens - after) / seconds if self.tokens > after and seconds > 0 else None


class Predictor:
    """A loaded bundle that answers. Close it, or use it in a `with` block.

    One thread uses it at a time; several predictors of one bundle may run at once.
    """

    def __init__(self, task: Task, runner: Runner) -> None:
        self.task, self.runner = task, runner

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self.runner.close()

    def predict(self, given: Any, *, seed: int = 0, **settings: Any) -> Any:
        """Return the answer for one input: a text or a pair of texts, a picture's path, array or Pillow image, a row or
        the graph's arrays by name, or the messages of a chat, each with a role and a content. For another list, return
        the list of answers; for another iterator, an iterator of them.

        `settings` are those of `generate`. Raises UsageError for an input that the task does not take.
        """
        if isinstance(given, list) and not is_messages(given):
            return [self.predict(each, seed=seed, **settings) for each in given]
        if isinstance(given, Iterator):
            return (self.predict(each, seed=seed, **settings) for each in given)
        return self.answer(user_input.of_value(self.task, given), asked(self.task, Asked(**settings)), seed=seed)

    def answer(self, sample: Sample, task: Task | None = None, *, seed: int = 0) -> dict[str, Any]:
        """Return the answer for a sample, as plain JSON values."""
        task = task or self.task
        if isinstance(task, Generating):
            return task.generated(list(task.stream(sample, self.runner, seed=seed)))
        outputs = [inference.outputs for inference in drive(task, sample, self.runner.start())]
        return task.answer(outputs, sample)

    def drawn(self, sample: Sample, task: Task | None = None) -> tuple[dict[str, Any], Image]:
        """Return the answer for a sample, and its picture with the answer drawn into it.

        Raises UsageError for a task whose answers are not drawn.
        """
        task = task or self.task
        if not isinstance(task, Drawing):
            raise UsageError(
                f"answers of the task '{task.config.task}' are not drawn into pictures.",
                hint="write them as JSON lines: --output answers.jsonl",
            )
        outputs = [inference.outputs for inference in drive(task, sample, self.runner.start())]
        return task.answer(outputs, sample), task.draw(outputs, sample)

    def generate(
        self,
        text: Any,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        beams: int | None = None,
        chat: bool = False,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield the generated text piece by piece. Settings that are None are the model's own; `temperature` 0 takes
        the best token each time.

        Raises UsageError for a task that generates nothing, and a text that the model does not take.
        """
        settings = Asked(max_new_tokens, temperature, top_k, top_p, beams, chat)
        task = asked(self.task, settings)
        if not isinstance(task, Generating):
            raise UsageError(
                f"the task '{self.task.config.task}' generates no text.", hint="use predict, which returns its answer"
            )
        ids = task.stream(user_input.of_value(task, text), self.runner, seed=seed)
        return pieces(ids, task.text)


def timed(ids: Iterable[int], record: Generated, *, at_once: bool = False) -> Iterator[int]:
    """Yield the ids, and write into `record` how many they are and when they came; `at_once`: all at the end."""
    start = time.perf_counter()
    for token in ids:
        record.tokens += 1
        record.total_ms = 1e3 * (time.perf_counter() - start)
        if record.first_ms is None and not at_once:
            record.first_ms = record.total_ms
        yield token
    record.total_ms = 1e3 * (time.perf_counter() - start)
