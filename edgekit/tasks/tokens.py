"""Tasks that predict tokens: the word behind a mask, or the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError
from edgekit.tasks.classification import TOP
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.labels import Classes
from edgekit.tasks.task import OnePart, Prediction, Preparation
from edgekit.tasks.tensor import output_of
from edgekit.tasks.text import IDS, Texts

if TYPE_CHECKING:
    import numpy as np


MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True, eq=False)
class TokenTask(OnePart):
    """The base of tasks on tokens: logits [1, tokens, size]. Without a metric the outputs are compared."""

    problem: ClassVar[Problem] = "outputs"

    config: TaskConfig
    prepare: Preparation
    classes: Classes = Classes()  # noqa: RUF009  # frozen
    metric: str | None = None
    compares_top: bool = True

    def label(self, raw: Any) -> Any:
        return raw

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        raise UsageError(
            f"'{self.config.task}' has no metric: its answers are compared with the original's.",
            hint="leave out --metric, or give a function of your own: --metric package.module:function",
        )

    def logits(self, outputs: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Return the logits, [tokens, size]. Raises UsageError for an output of another shape."""
        array = output_of(outputs, self.config.output)
        if array.ndim != 3 or array.shape[0] != 1:
            raise UsageError(
                f"the output has shape {list(array.shape)}, not [1, tokens, size].", hint="use --task tensor"
            )
        first: np.ndarray = array[0]
        return first

    def texts(self) -> Texts:
        if not isinstance(self.prepare, Texts):
            raise UsageError(
                "the model has no tokenizer, so its answer is token numbers only.",
                hint="export it again with --processor FOLDER, the folder of its tokenizer",
            )
        return self.prepare


class FillMask(TokenTask):
    """The words behind the mask."""

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        # The outputs do not show where the mask is, so whole outputs are compared (compares_top is off).
        return Prediction(None)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return the most likely words for each mask in the sample. Raises UsageError where it has none."""
        if sample is None:
            raise UsageError(
                "the words behind a mask cannot be found without the text.",
                hint="give the text in place of arrays: edgekit run BUNDLE 'a text with [MASK]'",
            )
        tokenizer = self.texts().tokenizer
        masks = {tokenizer.token_to_id(token) for token in MASKS} - {None}
        ids = self.feeds(sample)[0][IDS][0].tolist()
        places = [place for place, token in enumerate(ids) if token in masks]
        if not places:
            known = next((token for token in MASKS if tokenizer.token_to_id(token) is not None), "its mask token")
            raise UsageError("the text has no mask.", hint=f"write {known} where a word is to be predicted")
        logits = self.logits(outputs)
        filled = [[_candidate(tokenizer, *pair) for pair in _top(logits[place])] for place in places]
        return {"masks": filled}


ONE_PASS = "one pass without a cache: it gives the next token, and cannot generate text"


class NextToken(TokenTask):
    """The next token of a causal model without a cache."""

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the most likely next token; texts are padded on the left, so the last position is the text's."""
        return Prediction(int(self.logits(outputs)[-1].argmax()))

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        best = list(_top(self.logits(outputs)[-1]))
        if not isinstance(self.prepare, Texts) or (sample is not None and IDS in sample.fields):
            top = [{"token": token, "score": score} for token, score in best]
            return {"next": best[0][0], "top": top, "note": ONE_PASS}
        candidates = [_candidate(self.prepare.tokenizer, *pair) for pair in best]
        return {"next": candidates[0]["text"], "top": candidates, "note": ONE_PASS}


def _top(logits: np.ndarray) -> list[tuple[int, float]]:
    import numpy as np

    values = logits.astype(np.float64)
    powers = np.exp(values - values.max())
    order = (-values).argsort(kind="stable")[:TOP]
    return [(int(index), float(powers[index] / powers.sum())) for index in order]


def _candidate(tokenizer: Any, token: int, score: float) -> dict[str, Any]:
    return {"text": tokenizer.decode([token]), "token": token, "score": score}
