"""Tasks from text to text, by an encoder and a decoder: translation, summarisation.

The recorded steps are those of greedy search, each a call of the decoder: a candidate that replays them is compared at
every token. For a user the text is generated as the model's generation_config.json asks, with beams where it does.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError
from edgekit.spec import DECODER, ENCODER, Call
from edgekit.tasks import decoding, text_metrics
from edgekit.tasks.causal import last
from edgekit.tasks.config import Generation, TaskConfig
from edgekit.tasks.task import Prediction, Stepping
from edgekit.tasks.text import IDS, Texts, read_tokenizer

if TYPE_CHECKING:
    import numpy as np


METRIC = "chrf"
MASK = "encoder_attention_mask"


@dataclass(frozen=True, eq=False)
class Seq2Seq:
    """Text from text."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True
    continues: ClassVar[bool] = False

    config: TaskConfig
    prepare: Texts
    metric: str = METRIC

    @property
    def generation(self) -> Generation:
        if self.config.generation is None:
            raise UsageError(
                f"the task '{self.config.task}' needs a model that generates, and this one does not state how.",
                hint="export an encoder-decoder model of transformers, or give another --task",
            )
        return self.config.generation

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        """Yield the encoder's call, and those of the decoder by greedy search."""
        import numpy as np

        feeds = self.feeds(sample)
        yield ENCODER, feeds
        search = decoding.greedy(self.generation)
        try:
            step = next(search)
            while True:
                ids = np.array(step.tokens, np.int64)
                outputs = yield DECODER, {IDS: ids, MASK: feeds["attention_mask"]}
                step = search.send(last(outputs))
        except StopIteration:
            return

    def stream(self, sample: Sample, runner: Stepping, *, seed: int = 0) -> Iterator[int]:
        """Yield the ids that the model generates for a sample, with its own number of beams."""
        import numpy as np

        feeds = self.feeds(sample)
        mask = feeds["attention_mask"]
        changed: str | None = None
        runner.start()(ENCODER, feeds)

        def scores_of(tokens: tuple[tuple[int, ...], ...]) -> np.ndarray:
            return last(runner.run(DECODER, {IDS: np.array(tokens, np.int64), MASK: mask}))

        def reorder(order: Sequence[int]) -> None:
            nonlocal mask, changed
            # After the first call the states of the encoder have one row too; then their rows are alike.
            runner.reorder(order, changed)
            mask, changed = np.repeat(mask[:1], len(order), axis=0), DECODER

        yield from decoding.stream(decoding.search(self.generation, seed=seed), scores_of, reorder)

    def feeds(self, sample: Sample) -> dict[str, np.ndarray]:
        """Return the encoder's inputs. Raises UsageError for a sample of two texts."""
        if IDS not in sample.fields and len(self.prepare.texts(sample)) > 1:
            raise UsageError(
                f"the task '{self.config.task}' takes one text, two are given.",
                hint="name its column with --text-column",
            )
        (feeds,) = self.prepare(sample)
        return feeds

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]]) -> Prediction:
        """Return the text that greedy search takes from the outputs, and its tokens."""
        settings, scores = self.generation, [last(each)[0] for each in outputs[1:]]
        ids = [settings.start]
        for each in scores:
            ids.append(decoding.choose(settings, ids, each))
        return Prediction(self.text(ids[1:]), choices=tuple(ids[1:]))

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens; the ids themselves where the model has no tokenizer."""
        tokenizer = self.target
        if tokenizer is None:
            return " ".join(map(str, ids))
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    @functools.cached_property
    def target(self) -> Any:
        """The tokenizer of the generated text, None for a model that has none."""
        path = self.prepare.assets / self.generation.tokenizer
        return read_tokenizer(path) if path.is_file() else None

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        return self._answer(str(self.predict(outputs).value))

    def generated(self, ids: Sequence[int]) -> dict[str, Any]:
        return self._answer(self.text(ids))

    def _answer(self, text: str) -> dict[str, Any]:
        return {"translation" if self.config.task == "translation" else "text": text}

    def label(self, raw: Any) -> str:
        return str(raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        return text_metrics.score(self.metric, [str(prediction.value) for prediction in predictions], labels)
