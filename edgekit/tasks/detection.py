"""Object detection: a picture's boxes, each with a class and a score."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.data.picture import open_picture, picture_size
from edgekit.errors import UsageError, listed, nearest
from edgekit.tasks import box_metrics, boxes, drawing
from edgekit.tasks.boxes import Detections
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.detection_config import DetectionConfig
from edgekit.tasks.detectors import TASK
from edgekit.tasks.image import Pictures
from edgekit.tasks.placement import Placement, place
from edgekit.tasks.task import OnePart, Prediction, Preparation

if TYPE_CHECKING:
    import numpy as np

    from edgekit.tasks.drawing import Image

METRIC = "map"


@dataclass(frozen=True, eq=False)
class ObjectDetection(OnePart):
    """The boxes of the objects in a picture, in its own pixels."""

    problem: ClassVar[Problem] = "outputs"
    compares_top: ClassVar[bool] = False
    reads_every_output: ClassVar[bool] = True

    config: TaskConfig
    prepare: Preparation
    detection: DetectionConfig
    assets: Path
    metric: str | None = METRIC
    known: tuple[Any, ...] = ()
    """The classes of the data."""

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names, by number: the model's, else the data's."""
        named = all(isinstance(name, str) for name in self.known)
        return self.config.labels or (self.known if named else ())

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        """Return the boxes that mAP is computed of: those of low scores too."""
        return Prediction(self._detections(outputs, sample, in_metric=True))

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        """Return the boxes above the threshold: label, score, and the corners (left, top, right, bottom) in pixels."""
        kept = self._detections(outputs, sample)
        return {
            "boxes": [
                {"label": self.name(int(number)), "score": float(score), "box": [float(side) for side in box]}
                for box, score, number in zip(kept.boxes, kept.scores, kept.classes, strict=True)
            ]
        }

    def draw(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample) -> Image:
        """Return the picture with the boxes of the answer."""
        kept = self._detections(outputs, sample)
        if not isinstance(self.prepare, Pictures):
            raise UsageError("the sample has no picture to draw boxes into.", hint="give the path of a picture")
        field, value = self.prepare.find(sample)
        texts = [
            f"{self.name(int(number))} {score:.2f}" for number, score in zip(kept.classes, kept.scores, strict=True)
        ]
        return drawing.with_boxes(open_picture(value, field), kept.boxes.tolist(), texts, kept.classes.tolist())

    def name(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else str(number)

    def label(self, raw: Any) -> box_metrics.Truth:
        """Return the boxes of a label as the data has it: `boxes`, `classes` and, where some do not count, `ignored`.

        Raises UsageError for a class that the model does not have, and for a label of another kind.
        """
        import numpy as np

        if not isinstance(raw, Mapping) or not {"boxes", "classes"} <= set(raw):
            raise UsageError(
                f"the label of a picture is '{str(raw)[:40]}', and a detector's are boxes.",
                hint="give COCO's JSON, a folder of YOLO or Pascal VOC, or rows whose label has boxes and classes",
            )
        corners = np.asarray(raw["boxes"], np.float64).reshape(-1, 4)
        classes = np.array([self._index(name) for name in raw["classes"]], np.int64)
        ignored = np.asarray(raw.get("ignored", [False] * len(classes)), bool)
        return box_metrics.Truth(corners, classes, ignored)

    def _index(self, name: Any) -> int:
        if not isinstance(name, str):
            if int(name) >= 0 and (not self.config.labels or int(name) < len(self.config.labels)):
                return int(name)
            raise UsageError(
                f"the data has the class {name}, and the model has {len(self.config.labels)} classes.",
                hint="classes count from 0; leave those boxes out, or name the model's classes with --labels",
            )
        if name in self._numbers:
            return self._numbers[name]
        plain = {_plain(known): number for known, number in self._numbers.items()}
        if _plain(name) in plain:
            return plain[_plain(name)]
        others = [each for each in self.known if isinstance(each, str) and _plain(each) not in plain] or [name]
        raise UsageError(
            f"the data has classes that the model does not have: {listed(others)}.{nearest(name, self.names)}",
            hint=f"leave their boxes out, or name the model's classes with --labels; it has {listed(self.names)}",
        )

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        assert self.metric is not None
        return box_metrics.score(self.metric, [prediction.value for prediction in predictions], labels)

    def _detections(
        self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None, *, in_metric: bool = False
    ) -> Detections:
        config = self.detection
        proposed = boxes.candidates(outputs[0], config, self._size, self._priors)
        if proposed.classes is None:
            self._check_count(proposed.scores.shape[1])
        pairs = config.choose == "pairs" or (in_metric and config.choose == "pairs-in-metric")
        # Overlaps are those of the network's own pixels, where its authors compute them.
        in_pixels = proposed if config.units == "pixels" else replace(proposed, boxes=proposed.boxes * self._scale)
        kept = boxes.chosen(in_pixels, config, config.least if in_metric else config.threshold, pairs=pairs)
        return replace(kept, boxes=self._in_picture(kept.boxes, sample))

    def _check_count(self, count: int) -> None:
        if self.names and len(self.names) < count and not self.config.labels:
            raise UsageError(
                f"the model has {count} classes without names, and the data names {len(self.names)}: "
                f"{listed(self.names)}.",
                hint="name the model's classes with --labels, in the order of its output",
            )
        if len(self.names) > count and not self.config.labels:
            raise UsageError(
                f"the data names {len(self.names)} classes, and the model has {count}.",
                hint="name the model's classes with --labels, and leave the boxes of others out of the data",
            )

    def _in_picture(self, corners: np.ndarray, sample: Sample | None) -> np.ndarray:
        """Return boxes in pixels of the input as pixels of the sample's picture; where it is an array that is prepared
        already, as they are.
        """
        import numpy as np

        size = None if sample is None else self._picture(sample)
        if size is None:
            return corners
        placement = self._placed(size)
        moved = placement.in_picture(corners, size)
        if self.detection.clip:
            moved = np.clip(moved, 0, np.array([size[1], size[0]] * 2, moved.dtype))
        return moved

    def _placed(self, size: tuple[int, int]) -> Placement:
        """Return the placement of a picture; shares of a free input's sides are those of the picture itself."""
        if self._size is None and self.detection.units == "shares":
            return Placement(1, 1)
        assert self.config.image is not None
        return place(size, self.config.image)

    def _picture(self, sample: Sample) -> tuple[int, int] | None:
        if not isinstance(self.prepare, Pictures):
            return None
        field, value = self.prepare.find(sample)
        if hasattr(value, "dtype") and value.dtype.kind == "f":
            return None
        return picture_size(value, field)

    @functools.cached_property
    def _size(self) -> tuple[int, int] | None:
        """The height and the width of the input; None where they follow the picture."""
        image = self.config.image
        if image is not None and image.size is not None and image.resize != "shortest_edge":
            return image.size[0], image.size[-1]
        shapes = [spec.shape for spec in getattr(self.prepare, "inputs", ()) if len(spec.shape) == 4]
        sides = shapes[0][1:3] if shapes and image is not None and image.layout == "nhwc" else shapes[0][2:]
        return (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else None

    @functools.cached_property
    def _scale(self) -> np.ndarray:
        """The pixels that a share of each side is; 1 where the input follows the picture."""
        import numpy as np

        height, width = self._size or (1, 1)
        return np.array([width, height] * 2, np.float32)

    @functools.cached_property
    def _priors(self) -> np.ndarray | None:
        import numpy as np

        name = self.detection.priors
        file = self.assets / str(name)
        return np.load(file, allow_pickle=False) if name is not None and file.is_file() else None


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", " ").replace("-", " ")


def load(config: TaskConfig, prepare: Preparation, assets: Path, classes: Sequence[Any]) -> ObjectDetection:
    """Return the task of a config that describes boxes."""
    from edgekit.tasks.metrics import BOX_METRICS, check_metric

    assert config.detection is not None
    metric = check_metric(config.metric or METRIC, BOX_METRICS, TASK)
    return ObjectDetection(config, prepare, config.detection, assets, metric, tuple(classes))
