"""How a detector's outputs become boxes: the record `detection` of a task, and the table [detection] of a file that
describes a detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit._record import Record
from edgekit.errors import UsageError

Value = Literal["box", "objectness", "scores", "score", "class"]

_AGAIN = "correct the table [detection] of the detector's description"


@dataclass(frozen=True)
class DetectionConfig(Record):
    """The steps from outputs to boxes: which output holds what, how a box is written, which boxes are kept."""

    outputs: tuple[str, ...] = ()
    """The outputs that hold the boxes, in the order of `strides` where each stride has its own; empty: the first."""
    scores: str | None = None
    """The output with the scores, where it is another one than that of the boxes."""
    classes: str | None = None
    """The output with the number of each box's class, where the graph chooses it."""
    count: str | None = None
    """The output with the number of boxes, where the rest of the rows is padding."""
    layout: Literal["rows", "channels"] = "rows"
    """`rows`: the last axis holds one candidate's values; `channels`: the one behind the batch does."""
    values: tuple[Value, ...] = ("box", "scores")
    """What a candidate's values are, in order: `scores` are those of all classes, `score` and `class` of one."""
    box: Literal["center", "corners", "corner-size", "corners-yx"] = "center"
    """Center and size, two corners, the top left corner and size, or two corners with y first."""
    units: Literal["pixels", "shares"] = "pixels"
    """Pixels of the network's input, or shares of its sides."""
    encoding: Literal["none", "yolov3", "yolov5", "yolox", "fastestdet", "distances", "priors"] = "none"
    """How the network's values become a box on a grid of `strides`; `none` where the graph decodes them."""
    strides: tuple[int, ...] = ()
    anchors: tuple[tuple[float, ...], ...] = ()
    """For each stride: width, height, width, height, ... in pixels."""
    offset: float = 0.0
    """Of `distances`: where in its cell a point lies, as a share of the stride."""
    bins: int = 1
    """Of `distances`: how many values hold the distribution of one distance."""
    priors: str | None = None
    """Of `priors`: the output with them, or a file (.npy) [candidates, 4]: center and size as shares."""
    variances: tuple[float, float] = (0.1, 0.2)
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """What turns the scores into probabilities, where the graph does not."""
    background: Literal["first", "last"] | None = None
    """The place of the class that means no object."""
    powers: tuple[float, float] = (1.0, 1.0)
    """A score is objectness to the first power by the class's score to the second."""
    choose: Literal["best", "pairs", "pairs-in-metric"] = "best"
    """Each candidate is of its best class, or of each that exceeds the threshold: always, or where mAP is computed."""
    threshold: float = 0.25
    """Boxes of a lower score are not in the answer."""
    least: float = 0.001
    """The same where mAP is computed."""
    overlap: float | None = 0.7
    """Of two boxes of a class whose intersection over union is more, the one of the lower score is dropped; None: the
    network or its graph has done so."""
    across: bool = False
    """Whether boxes of different classes drop each other too."""
    most: int = 300
    clip: bool = True
    """Whether boxes are cut at the picture's edge."""

    def __post_init__(self) -> None:
        for name in ("threshold", "least", "overlap"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} is {value:g}, not a number from 0 to 1.", hint=_AGAIN)
        for name, most in (("most", 1 << 20), ("bins", 1 << 10)):
            if not 1 <= getattr(self, name) <= most:
                raise UsageError(f"{name} is not a number from 1 to {most}.", hint=_AGAIN)
        if not self.values or len(set(self.values)) < len(self.values):
            raise UsageError("values is empty, or names something twice.", hint=_AGAIN)
        if any(not 1 <= stride <= 1 << 12 for stride in self.strides):
            raise UsageError("strides are not numbers of pixels from 1 to 4096.", hint=_AGAIN)
        if self.encoding in GRIDS and not self.strides:
            raise UsageError(
                f"the encoding '{self.encoding}' needs strides.", hint="give them, as strides = [8, 16, 32]"
            )
        if self.encoding in ANCHORED and len(self.anchors) != len(self.strides):
            raise UsageError(
                f"the encoding '{self.encoding}' needs the anchors of each of {len(self.strides)} strides.",
                hint="give them, as anchors = [[10, 13, 16, 30, 33, 23], ...]",
            )
        if any(not pair or len(pair) % 2 for pair in self.anchors):
            raise UsageError("the anchors of a stride are not pairs of width and height.", hint=_AGAIN)
        if self.encoding == "priors" and not self.priors:
            raise UsageError(
                "the encoding 'priors' needs priors.", hint='name the output or the file: priors = "priors.npy"'
            )


GRIDS = ("yolov3", "yolov5", "yolox", "fastestdet", "distances")
"""Encodings relative to the cell of a grid."""

ANCHORED = ("yolov3", "yolov5")
