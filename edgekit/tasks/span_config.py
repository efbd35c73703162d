"""How an answer is read from a text: the record of question answering."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit.errors import UsageError

STRIDE = 128
"""Tokens that neighbouring windows of a long text share, as in the SQuAD scripts of BERT."""

LONGEST = 30
"""The most tokens of an answer, as there."""

_AGAIN = "correct the record, or export the model again"


@dataclass(frozen=True)
class SpanConfig(Record):
    """How a span of a context is chosen by the scores of its start and its end."""

    stride: int = STRIDE
    longest: int = LONGEST
    may_be_empty: bool = False
    """Whether a question may have no answer in the context: then the scores of the first token stand for none."""
    start: str = "start_logits"
    end: str = "end_logits"
    """The outputs that hold the scores."""

    def __post_init__(self) -> None:
        if not (0 <= self.stride < 1 << 20 and 1 <= self.longest < 1 << 20):
            raise UsageError("stride and longest are not numbers of tokens.", hint=_AGAIN)
