"""Text generation: a language model continues a text, one token a call, with its keys and values as states.

The recorded steps feed the user's own text: its first part as the prompt, then token by token (teacher forcing), and
behind the text what greedy search takes. So a candidate is compared at every token, on the calls that a device makes.
For a user the text goes on as the model's generation_config.json asks.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import DeviceError, UsageError
from edgekit.spec import DECODER, Call
from edgekit.target import host
from edgekit.tasks import decoding, text_metrics
from edgekit.tasks.chat import MESSAGES, of_text, render
from edgekit.tasks.config import Generation, TaskConfig
from edgekit.tasks.task import Prediction, Stepping
from edgekit.tasks.text import IDS, Texts

if TYPE_CHECKING:
    import numpy as np

PROMPT = 64
"""The most tokens of a sample that are the prompt of the recorded calls: at most the first half of its text."""

RECORDED = 32
"""The calls that are recorded of a sample."""


@dataclass(frozen=True, eq=False)
class TextGeneration:
    """Text from the text before it."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True
    continues: ClassVar[bool] = True

    config: TaskConfig
    prepare: Texts
    metric: str | None = None
    chat: bool = False
    """Whether a text is a user's message."""

    @property
    def generation(self) -> Generation:
        if self.config.generation is None:
            raise UsageError(
                f"the task '{self.config.task}' needs a model that states how it generates.",
                hint="export a language model of transformers again",
            )
        return self.config.generation

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        """Yield the calls of the sample's text: its prompt, then one token each.

        Where a metric compares the text that is generated with a label, the whole text is the prompt.
        """
        prompt, forced = self.parts(sample)
        settings, ids = self.generation, list(prompt)
        most = RECORDED if self.metric is None else settings.longest(len(prompt)) - len(prompt)
        most = min(most, settings.context - len(prompt) + 1) if settings.context else most
        fed = tuple(prompt)
        for place in range(most):
            outputs = yield DECODER, self.feeds([fed], len(ids) - len(fed))
            if place < len(forced):
                ids.append(forced[place])
            else:
                scores = last(outputs)[0]
                # What `predict` finds again without knowing the prompt: the likeliest token, without penalties.
                best = int(scores.argmax()) if self.metric else decoding.choose(settings, ids, scores, len(prompt))
                ids.append(best)
                if ids[-1] in settings.stops:
                    return
            fed = (ids[-1],)

    def parts(self, sample: Sample) -> tuple[list[int], list[int]]:
        """Return the ids of the sample's prompt, and those behind it that are fed after it."""
        ids = self.ids(sample)
        if self.metric is not None:
            return ids, []
        length = min(PROMPT, max(1, len(ids) // 2))
        return ids[:length], ids[length : length + RECORDED - 1]

    def ids(self, sample: Sample) -> list[int]:
        """Return the token ids of a sample's text. Raises UsageError for none, more than the model takes, or one that
        it does not know.
        """
        settings = self.generation
        if IDS in sample.fields:
            import numpy as np

            ids = [int(number) for number in np.asarray(sample.fields[IDS]).ravel()]
        elif MESSAGES in sample.fields:
            ids = self._of_messages(sample.fields[MESSAGES])
        else:
            texts = self.prepare.texts(sample)
            if len(texts) > 1:
                raise UsageError(
                    f"the task '{self.config.task}' takes one text, two are given.",
                    hint="name its column with --text-column",
                )
            if self.chat:
                ids = self._of_messages(of_text(texts[0]))
            else:
                ids = list(self.prepare.tokenizer.encode(self.prepare.config.prefix + texts[0]).ids)
        if not ids:
            raise UsageError("the text is empty, and this model needs a beginning.", hint="give at least one word")
        if settings.vocabulary and not 0 <= min(ids) <= max(ids) < settings.vocabulary:
            raise UsageError(
                f"the tokens {min(ids)} to {max(ids)} are given, and the model knows 0 to {settings.vocabulary - 1}.",
                hint="use the tokenizer that the model was trained with",
            )
        return ids

    def _of_messages(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the ids of messages; the template writes the special tokens itself."""
        text = render(self.prepare.assets, messages)
        return list(self.prepare.tokenizer.encode(text, add_special_tokens=False).ids)

    def feeds(self, tokens: Sequence[Sequence[int]], past: int) -> dict[str, np.ndarray]:
        """Return the inputs of a call on rows of tokens that follow `past` others."""
        import numpy as np

        ids = np.array(tokens, np.int64)
        rows, count = ids.shape
        available = {
            IDS: ids,
            "attention_mask": np.ones((rows, past + count), np.int64),
            "position_ids": np.broadcast_to(np.arange(past, past + count), (rows, count)).astype(np.int64),
        }
        return {spec.name: available[spec.name] for spec in self.prepare.inputs}

    def calls(self, trace: Sequence[Call], prompt: int | None, new: int | None) -> list[Call]:
        """Return calls with so many tokens of a prompt and after it, of the tokens of `trace` repeated; None: as many
        as there. Raises UsageError for more than the model takes.
        """
        ids = [int(number) for _, feeds in trace for number in feeds[IDS][0]]
        prompt, new = prompt or trace[0][1][IDS].shape[1], new or len(trace)
        context = self.generation.context
        if context is not None and prompt + new > context:
            raise UsageError(
                f"a prompt of {prompt} tokens and {new} new ones are more than the {context} that the model takes.",
                hint="give smaller numbers to --prompt-tokens and --new-tokens",
            )
        tokens = [ids[place % len(ids)] for place in range(prompt + new - 1)]
        later = range(prompt, len(tokens))
        return [
            (DECODER, self.feeds([tokens[:prompt]], 0)),
            *((DECODER, self.feeds([tokens[place : place + 1]], place)) for place in later),
        ]

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the likeliest token after each call; where a metric compares texts, the text of them."""
        choices = tuple(int(last(each)[0].argmax()) for each in outputs)
        return Prediction(choices if self.metric is None else self.text(choices), choices=choices)

    def stream(self, sample: Sample, runner: Stepping, *, seed: int = 0) -> Iterator[int]:
        """Yield the ids that follow a sample's text, each as soon as it is known: with beams, all at the end."""
        prompt, settings = self.ids(sample), self.generation
        if settings.context is not None and len(prompt) >= settings.context:
            raise UsageError(
                f"the text has {len(prompt)} tokens, and the model takes {settings.context}, its answer included.",
                hint="give a shorter text",
            )
        run, known, memory_mb = runner.start(), 0, host.probe().memory_mb

        def scores_of(tokens: tuple[tuple[int, ...], ...]) -> np.ndarray:
            nonlocal known
            needed_mb = runner.grown_bytes(known + len(tokens[0]), len(tokens)) / 1e6
            if memory_mb is not None and needed_mb > memory_mb:
                raise DeviceError(
                    f"the keys and values of {known + len(tokens[0])} tokens take {needed_mb:.0f} MB, and this machine "
                    f"has {memory_mb} MB.",
                    hint="give a shorter text, or a smaller --max-new-tokens",
                )
            outputs = run(DECODER, self.feeds(tokens, known))
            known += len(tokens[0])
            return last(outputs)

        yield from decoding.stream(decoding.search(settings, prompt, seed=seed), scores_of, runner.reorder)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids that follow others, without special tokens; the ids themselves where the model has no
        tokenizer.
        """
        if self.config.text is None:
            return " ".join(map(str, ids))
        tokenizer, before = self.prepare.tokenizer, self._before
        # Some tokenizers drop the space at the beginning, which here is the middle of a text.
        whole: str = tokenizer.decode([*before, *ids], skip_special_tokens=True)
        return whole[len(tokenizer.decode(before, skip_special_tokens=True)) :]

    @functools.cached_property
    def _before(self) -> list[int]:
        """The ids of a word that stands before a text to decode."""
        return list(self.prepare.tokenizer.encode("a", add_special_tokens=False).ids)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return the text of the likeliest tokens after each call."""
        return {"text": self.text(self.predict(outputs).value)}

    def generated(self, ids: Sequence[int]) -> dict[str, Any]:
        return {"text": self.text(ids)}

    def label(self, raw: Any) -> str:
        return str(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        if self.metric is None:
            raise UsageError(
                f"the task '{self.config.task}' is judged by tokens where no metric is named.",
                hint="name one that compares texts, such as --metric chrf, or leave the labels out",
            )
        return text_metrics.score(self.metric, [str(prediction.value) for prediction in predictions], labels)


def last(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the scores of the last token, [hypotheses, vocabulary]."""
    scores: np.ndarray = outputs["logits"][:, -1]
    return scores
