"""Token classification: the class of each word of a text, and the entities that the classes mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.data import Sample
from edgekit.errors import UsageError
from edgekit.tasks import metrics
from edgekit.tasks.entities import OUTSIDE, entities, entity_f1, has_scheme
from edgekit.tasks.task import Prediction
from edgekit.tasks.text import IDS, words_of
from edgekit.tasks.tokens import TokenTask

if TYPE_CHECKING:
    import numpy as np

METRICS = ("f1", "accuracy")

IGNORED = -100
"""The label of what is not counted, as in transformers."""


def chosen_metric(name: str | None, labels: Sequence[str]) -> str:
    """Return the metric: F1 of entities where the labels are tags of entities, else the accuracy of words."""
    if name is None:
        return METRICS[0] if has_scheme(labels) else METRICS[1]
    return metrics.check_metric(name, METRICS, "token-classification")


@dataclass(frozen=True, eq=False)
class Tagging(TokenTask):
    """The class of each word: that of its first token, as models are trained and evaluated."""

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the class of each word of the sample, be it a list of words or a text; without them, of each token.

        A word that was cut off has the class `O`, or else the first.
        """
        classes = self.logits(outputs).argmax(axis=-1).tolist()
        if sample is None or IDS in sample.fields:
            return Prediction(tuple(classes), several=True)
        words = words_of(sample)
        if words is None:
            places = [place for place, _, _ in self._words(self.texts().texts(sample)[0], len(classes))]
            return Prediction(tuple(classes[place] for place in places), several=True)
        firsts = self._first_tokens(words, len(classes))
        unseen = self.classes.names.index(OUTSIDE) if OUTSIDE in self.classes.names else 0
        return Prediction(tuple(unseen if place is None else classes[place] for place in firsts), several=True)

    def _first_tokens(self, words: Sequence[str], count: int) -> list[int | None]:
        """Return the number of each word's first token; None for a word after the cut."""
        encoding = self.texts().tokenizer.encode(self.texts().config.prefix + " ".join(words))
        start = len(self.texts().config.prefix)
        tokens = [
            (place, begin, end)
            for place, ((begin, end), special) in enumerate(
                zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
            )
            if not special and end > begin and place < count
        ]
        firsts: list[int | None] = []
        following = 0
        for word in words:
            stop = start + len(word)
            # Some tokenizers count the space before a word as its first token's.
            while following < len(tokens) and tokens[following][2] <= start:
                following += 1
            inside = following < len(tokens) and tokens[following][1] < stop
            firsts.append(tokens[following][0] if inside else None)
            start = stop + 1
        return firsts

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return the entities with their text, its place in characters and the mean probability of their words; without
        the text the label of each token.
        """
        import numpy as np

        logits = self.logits(outputs).astype(np.float64)
        if sample is None or IDS in sample.fields:
            return {"labels": [self.classes.name(int(index)) for index in logits.argmax(axis=-1)]}
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores = powers / powers.sum(axis=-1, keepdims=True)
        text = self.texts().texts(sample)[0]
        words = self._words(text, len(logits))
        tags = [self.classes.name(int(logits[place].argmax())) for place, _, _ in words]
        spans = [
            {
                "label": label,
                "text": text[words[first][1] : words[last - 1][2]],
                "start": words[first][1],
                "end": words[last - 1][2],
                "score": float(np.mean([scores[place].max() for place, _, _ in words[first:last]])),
            }
            for label, first, last in entities(tags)
        ]
        return {"entities": spans}

    def _words(self, text: str, count: int) -> list[tuple[int, int, int]]:
        """Return each word's first token, and its start and end in the text: a token that goes on where the letters of
        the one before end belongs to its word.
        """
        prefix = self.texts().config.prefix
        encoding = self.texts().tokenizer.encode(prefix + text)
        words: list[tuple[int, int, int]] = []
        for place, ((begin, end), special) in enumerate(
            zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ):
            begin, end = max(begin - len(prefix), 0), end - len(prefix)
            begin += len(text[begin:end]) - len(text[begin:end].lstrip())
            if special or end <= begin or place >= count:
                continue
            if words and words[-1][2] == begin and text[begin - 1].isalnum() and text[begin].isalnum():
                words[-1] = (words[-1][0], words[-1][1], end)
            else:
                words.append((place, begin, end))
        return words

    def label(self, raw: Any) -> tuple[int, ...]:
        """Return the class of each word. Raises UsageError for a label that is not a list of tags."""
        if isinstance(raw, (str, bytes)) or not hasattr(raw, "__len__"):
            raise UsageError(
                f"the label '{raw}' is not a list with a tag for each word.",
                hint="give a CoNLL file, or jsonl with the fields tokens and tags",
            )
        return tuple(IGNORED if _ignored(tag) else self.classes.index(tag) for tag in raw)

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        assert self.metric is not None
        for prediction, label in zip(predictions, labels, strict=True):
            if len(prediction.value) != len(label):
                raise UsageError(
                    f"a sample has {len(prediction.value)} words or tokens, and {len(label)} tags.",
                    hint="give the text as a list of words, the field tokens, with one tag for each",
                )
        pairs = [
            [(ours, theirs) for ours, theirs in zip(prediction.value, label, strict=True) if theirs != IGNORED]
            for prediction, label in zip(predictions, labels, strict=True)
        ]
        if self.metric == "accuracy":
            flat = [pair for sentence in pairs for pair in sentence]
            return metrics.accuracy([ours for ours, _ in flat], [theirs for _, theirs in flat])
        named = [[(self.classes.name(ours), self.classes.name(theirs)) for ours, theirs in line] for line in pairs]
        return entity_f1(*([[pair[side] for pair in line] for line in named] for side in (0, 1)))


def _ignored(tag: Any) -> bool:
    return isinstance(tag, int) and tag == IGNORED
