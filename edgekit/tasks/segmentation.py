"""Semantic segmentation: the class of each pixel of a picture, at the picture's own size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample, Samples, open_picture
from edgekit.data.masks import MASK, read_mask
from edgekit.errors import UsageError
from edgekit.tasks import drawing, mask_metrics
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.image import Pictures
from edgekit.tasks.interpolation import bilinear
from edgekit.tasks.labels import Classes
from edgekit.tasks.segmentation_config import IGNORED, SegmentationConfig
from edgekit.tasks.task import OnePart, Prediction, Preparation
from edgekit.tasks.tensor import output_of

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

QUERIES = ("class_queries_logits", "masks_queries_logits")
"""The outputs of MaskFormer and Mask2Former: classes [1, queries, classes + 1], masks [1, queries, height, width]."""

LOOKED_AT = 20
"""How many masks show which levels the data has."""


@dataclass(frozen=True, eq=False)
class Segmentation(OnePart):
    """The class with the highest score at each pixel.

    Outputs are scores [1, classes, height, width] or [1, height, width, classes], the score of one class
    [1, 1, height, width], the numbers of classes [1, height, width], or queries. Scores are resized to the picture
    first, as transformers' `post_process_semantic_segmentation` does it with `target_sizes`.
    """

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = True

    config: TaskConfig
    prepare: Preparation
    classes: Classes
    metric: str

    @property
    def reads_every_output(self) -> bool:
        """Whether the answer is read from several outputs."""
        return self.config.output is None

    @property
    def masks(self) -> SegmentationConfig:
        return self.config.segmentation or SegmentationConfig()

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        return Prediction(self._classes(outputs, sample), several=True)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return each class that occurs, with its share of the picture, the largest first."""
        import numpy as np

        classes = self._classes(outputs, sample)
        numbers, counts = np.unique(classes, return_counts=True)
        order = (-counts).argsort(kind="stable")
        shares = [
            {"label": self._name(int(numbers[place])), "share": float(counts[place] / classes.size)} for place in order
        ]
        return {"classes": shares, "height": classes.shape[0], "width": classes.shape[1]}

    def draw(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample) -> Image:
        """Return the picture, tinted by the class of each pixel; of two classes the second alone."""
        classes = self._classes(outputs, sample)
        binary = len(self.classes.names) == 2 or int(classes.max(initial=0)) < 2
        return drawing.with_mask(self._picture(sample), classes, background=0 if binary else None)

    def label(self, raw: Any) -> np.ndarray:
        """Return the class of each pixel, uint8 [height, width], and 255 where none is judged.

        Raises UsageError for a mask that does not open or has colours.
        """
        import numpy as np

        levels = read_mask(_mask(raw))
        if self.masks.binary:
            return np.asarray(levels > 127, np.uint8)
        if self.masks.reduced:
            return np.where(levels == 0, IGNORED, levels - 1).astype(np.uint8)
        return levels

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        for prediction, label in zip(predictions, labels, strict=True):
            if prediction.value.shape != label.shape:
                ours, theirs = (" x ".join(map(str, each.shape)) for each in (prediction.value, label))
                raise UsageError(
                    f"a picture has {ours} pixels (height x width), and its mask {theirs}.",
                    hint="give each mask in the size of its picture",
                )
        pairs = ((prediction.value, label) for prediction, label in zip(predictions, labels, strict=True))
        counts = mask_metrics.confusion(pairs, IGNORED)
        if (names := self.classes.names) and len(counts) > max(2, len(names)):
            raise UsageError(
                f"the masks have the level {len(counts) - 1}, and the model {len(names)} classes, which count from 0.",
                hint="write the numbers of the model's classes as levels, and 255 where no class is judged",
            )
        return mask_metrics.score(self.metric, counts)

    def _name(self, number: int) -> str:
        if not self.classes.names and number < 2:
            return ("background", "foreground")[number]
        return self.classes.name(number)

    def _picture(self, sample: Sample) -> Image:
        if not isinstance(self.prepare, Pictures):
            raise UsageError(
                "the model has no preprocessing of pictures, so no picture can be drawn.",
                hint="export it again with --processor FILE",
            )
        field, value = self.prepare.find(sample)
        return open_picture(value, field)

    def _classes(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None) -> np.ndarray:
        """Return the class of each pixel, uint8 [height, width] of the picture, or of the output without one."""
        import numpy as np

        size = None if sample is None else self._size(sample)
        scores = self._scores(outputs, size)
        if scores.ndim == 2:
            return np.asarray(_nearest(scores, size), np.uint8)
        if len(scores) > IGNORED:
            raise UsageError(f"masks have at most {IGNORED} classes, and the model has {len(scores)}.",
                             hint="give --task tensor to compare its outputs alone")  # fmt: skip
        scores = scores if size is None else bilinear(scores, *size)
        if len(scores) > 1:
            return np.asarray(scores.argmax(0), np.uint8)
        limit = self.masks.threshold
        if self.config.activation != "probabilities":
            limit = float(np.log(limit / (1 - limit)))
        return np.asarray(scores[0] > limit, np.uint8)

    def _size(self, sample: Sample) -> tuple[int, int] | None:
        """Return the height and width of the sample's picture; None where it is given as an array."""
        if not isinstance(self.prepare, Pictures):
            return None
        field, value = self.prepare.find(sample)
        if field == self.prepare.config.input:
            return None
        if self.prepare.config.crop is not None:
            raise UsageError(
                "the preprocessing crops pictures, so the model sees a part of them and a mask cannot be placed.",
                hint="leave the crop out of the preprocessor_config.json",
            )
        picture = open_picture(value, field)
        return picture.height, picture.width

    def _scores(self, outputs: Sequence[Mapping[str, np.ndarray]], size: tuple[int, int] | None) -> np.ndarray:
        """Return the scores [classes, height, width], or the numbers of classes [height, width]; masks of queries are
        resized to `size` first, as in Mask2Former.
        """
        import numpy as np

        if all(name in outputs[0] for name in QUERIES):
            classes, masks = (outputs[0][name][0] for name in QUERIES)
            return _of_queries(classes, masks if size is None else bilinear(masks, *size))
        array = output_of(outputs, self.config.output)
        if array.ndim == 4 and array.shape[0] == 1:
            scores = array[0]
            count = len(self.classes.names)
            last = scores.shape[-1] in {1, count} - {0} and scores.shape[0] not in (1, count)
            return np.moveaxis(scores, -1, 0) if last else scores
        if array.ndim == 3 and array.shape[0] == 1:
            return array[0] if array.dtype.kind in "iu" else array
        raise UsageError(
            f"an output of shape {list(array.shape)} does not hold masks, which are [1, classes, height, width].",
            hint="name the output that does with --output-name, or use --task tensor",
        )


def levels_of(samples: Samples) -> set[int]:
    """Return the levels that occur in some of the masks."""
    import numpy as np

    levels: set[int] = set()
    for label in (samples.labels or ())[:LOOKED_AT]:
        if label is not None:
            levels |= set(np.unique(read_mask(_mask(label))).tolist())
    return levels


def _mask(label: Any) -> Any:
    return label[MASK] if isinstance(label, Mapping) and MASK in label else label


def _of_queries(classes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the scores of classes, each query's probabilities times its mask, summed (Cheng et al., 2021)."""
    import numpy as np

    powers = np.exp(classes - classes.max(-1, keepdims=True))
    probabilities = (powers / powers.sum(-1, keepdims=True))[:, :-1]  # the last class stands for no object
    shares = 1 / (1 + np.exp(-masks.astype(np.float64)))
    return np.asarray(np.einsum("qc,qhw->chw", probabilities, shares))


def _nearest(classes: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return a map in another size, each pixel that of the nearest."""
    import numpy as np

    if size is None or classes.shape == size:
        return classes
    rows, columns = (
        ((np.arange(wanted) + 0.5) * length / wanted).astype(np.int64)
        for wanted, length in zip(size, classes.shape, strict=True)
    )
    return np.asarray(classes[rows][:, columns])
