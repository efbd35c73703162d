"""How masks are read from a network's outputs and from data: the record of segmentation."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit.errors import UsageError

IGNORED = 255
"""The level of a mask's pixels that are not judged, as in Pascal VOC and ADE20K."""


@dataclass(frozen=True)
class SegmentationConfig(Record):
    """What the levels of a mask mean, and how a binary network's scores are cut."""

    binary: bool = False
    """Whether the masks of the data have two levels, 0 and 255, which are the classes 0 and 1."""
    reduced: bool = False
    """Whether the level 0 is not judged and the others count from 1 (transformers' do_reduce_labels)."""
    threshold: float = 0.5
    """The probability above which a pixel is of the class, where the network has one channel."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError("threshold is not a probability between 0 and 1.", hint="correct the record")
