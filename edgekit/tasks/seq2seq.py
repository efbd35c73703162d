"""Tasks to text, by an encoder and a decoder: translation, summarisation, speech recognition, captions of pictures.

The recorded steps are those of greedy search, each a call of the decoder: a candidate that replays them is compared at
every token. For a user the text is generated as the model's generation_config.json asks, with beams where it does.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError
from edgekit.spec import DECODER, ENCODER, Call
from edgekit.tasks import decoding, text_metrics
from edgekit.tasks.causal import last
from edgekit.tasks.config import ENCODED, Generation, TaskConfig
from edgekit.tasks.task import Prediction, Preparation, Stepping
from edgekit.tasks.text import IDS, Texts, TokenizerFile

if TYPE_CHECKING:
    import numpy as np


METRICS = {task: "wer" if task == "automatic-speech-recognition" else "chrf" for task in ENCODED}
"""The metric of each task where the user names none."""

MASK = "encoder_attention_mask"


@dataclass(frozen=True, eq=False)
class Seq2Seq:
    """Text from text, a sound or a picture. A long sound is answered window by window."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True
    continues: ClassVar[bool] = False

    config: TaskConfig
    prepare: Preparation
    tokens: TokenizerFile
    metric: str

    @property
    def generation(self) -> Generation:
        if self.config.generation is None:
            raise UsageError(
                f"the task '{self.config.task}' needs a model that generates, and this one does not state how.",
                hint="export an encoder-decoder model of transformers, or give another --task",
            )
        return self.config.generation

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        """Yield the encoder's call, and those of the decoder by greedy search. Raises UsageError for a sound that is
        longer than a window: its parts are no calls of one text.
        """
        (feeds, *others) = self.feeds(sample)
        if others:
            raise UsageError(
                f"a sound has {len(others) + 1} windows, and candidates are compared on sounds of one.",
                hint="cut the sounds of the data; a bundle answers long ones: edgekit run BUNDLE long.wav",
            )
        yield ENCODER, feeds
        known: list[int] = []
        if self.generation.languages:
            known.append(self.generation.start)
            outputs = yield DECODER, self._fed((tuple(known),), feeds)
            prompt = self._prompt(last(outputs)[0])
        else:
            prompt = self._prompt()
        search = decoding.greedy(self.generation, prompt)
        try:
            step = next(search)
            tokens: tuple[tuple[int, ...], ...] = (step.tokens[0][len(known) :],)
            while True:
                outputs = yield DECODER, self._fed(tokens, feeds)
                tokens = search.send(last(outputs)).tokens
        except StopIteration:
            return

    def stream(self, sample: Sample, runner: Stepping, *, seed: int = 0) -> Iterator[int]:
        """Yield the ids that the model generates for a sample, with its own number of beams."""
        for feeds in self.feeds(sample):
            yield from self._answered(feeds, runner, seed)

    def _answered(self, feeds: Mapping[str, np.ndarray], runner: Stepping, seed: int) -> Iterator[int]:
        changed: str | None = None
        runner.start()(ENCODER, feeds)
        known = 0

        def scores_of(tokens: tuple[tuple[int, ...], ...]) -> np.ndarray:
            nonlocal known
            known, skipped = 0, known
            return last(runner.run(DECODER, self._fed(tuple(row[skipped:] for row in tokens), feeds)))

        def reorder(order: Sequence[int]) -> None:
            nonlocal changed
            # After the first call the states of the encoder have one row too; then their rows are alike.
            runner.reorder(order, changed)
            changed = DECODER

        prompt = self._prompt()
        if self.generation.languages:
            prompt = self._prompt(scores_of(((self.generation.start,),))[0])
            known = 1
        yield from decoding.stream(decoding.search(self.generation, prompt, seed=seed), scores_of, reorder)

    def _prompt(self, scores: np.ndarray | None = None) -> tuple[int, ...]:
        """Return the tokens that a text begins with; `scores` are those that follow the first one."""
        settings = self.generation
        language = () if scores is None else (max(settings.languages, key=lambda each: float(scores[each])),)
        return settings.start, *language, *settings.prompt

    def _fed(self, tokens: Sequence[Sequence[int]], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the decoder's inputs for rows of tokens; a decoder of padded inputs knows what is padding."""
        import numpy as np

        fed = {IDS: np.array(tokens, np.int64)}
        if "attention_mask" in feeds:
            fed[MASK] = np.repeat(feeds["attention_mask"], len(tokens), axis=0)
        return fed

    def feeds(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        """Return the encoder's inputs, of each window. Raises UsageError for a sample of two texts."""
        if isinstance(self.prepare, Texts) and IDS not in sample.fields and len(self.prepare.texts(sample)) > 1:
            raise UsageError(
                f"the task '{self.config.task}' takes one text, two are given.",
                hint="name its column with --text-column",
            )
        return self.prepare(sample)

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the text that greedy search takes from the outputs, and its tokens."""
        settings, scores = self.generation, [last(each)[0] for each in outputs[1:]]
        ids = list(self._prompt(scores.pop(0) if settings.languages else None))
        begun = len(ids)
        for each in scores:
            ids.append(decoding.choose(settings, ids, each, begun))
        language = ids[1:2] if settings.languages else []
        return Prediction(self.text(ids[begun:]), choices=(*language, *ids[begun:]))

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens; the ids themselves where the model has no tokenizer."""
        tokenizer = self.target
        if tokenizer is None:
            return " ".join(map(str, ids))
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    @property
    def target(self) -> Any:
        """The tokenizer of the generated text, None for a model that has none."""
        return self.tokens.tokenizer

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
