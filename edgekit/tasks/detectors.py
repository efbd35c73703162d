"""The families of detectors: how each writes its boxes and takes its pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edgekit.errors import UsageError, nearest
from edgekit.tasks.config import ImageConfig
from edgekit.tasks.detection_config import DetectionConfig

TASK = "object-detection"

# fmt: off
COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 classes of COCO that detectors are trained on, in their order."""

STRIDES = (8, 16, 32)
_ANCHORS = (
    (10.0, 13.0, 16.0, 30.0, 33.0, 23.0),
    (30.0, 61.0, 62.0, 45.0, 59.0, 119.0),
    (116.0, 90.0, 156.0, 198.0, 373.0, 326.0),
)
"""Those of YOLOv5's models for COCO."""

_LETTERBOX = ImageConfig(resize="letterbox", antialias=False)
_PLAIN = ImageConfig(antialias=False)
_BGR = {"channels": "bgr", "antialias": False, "rescale": 1.0}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE = {"mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}


@dataclass(frozen=True)
class Family:
    """A family's decoding and its preprocessing, both without what each model of it has for itself."""

    detection: DetectionConfig
    image: ImageConfig


FAMILIES = {
    "yolov5": Family(
        DetectionConfig(values=("box", "objectness", "scores"), choose="pairs-in-metric", overlap=0.45), _LETTERBOX
    ),
    "yolov5-heads": Family(
        DetectionConfig(
            values=("box", "objectness", "scores"),
            encoding="yolov5",
            activation="sigmoid",
            strides=STRIDES,
            anchors=_ANCHORS,
            choose="pairs-in-metric",
            overlap=0.45,
        ),
        _LETTERBOX,
    ),
    "yolov8": Family(DetectionConfig(layout="channels", choose="pairs-in-metric"), _LETTERBOX),
    "yolov10": Family(
        DetectionConfig(values=("box", "score", "class"), box="corners", overlap=None), _LETTERBOX
    ),
    "yolox": Family(
        DetectionConfig(values=("box", "objectness", "scores"), encoding="yolox", strides=STRIDES, overlap=0.45),
        ImageConfig(resize="letterbox-corner", **_BGR),  # type: ignore[arg-type]
    ),
    "nanodet": Family(
        DetectionConfig(
            values=("scores", "box"),
            encoding="distances",
            bins=8,
            strides=(8, 16, 32, 64),
            choose="pairs",
            threshold=0.35,
            least=0.05,
            overlap=0.6,
            most=100,
        ),
        ImageConfig(**_BGR, **_CAFFE),  # type: ignore[arg-type]
    ),
    "fastestdet": Family(
        DetectionConfig(
            layout="channels",
            values=("objectness", "box", "scores"),
            encoding="fastestdet",
            strides=(16,),
            powers=(0.6, 0.4),
            threshold=0.5,
            overlap=0.45,
        ),
        ImageConfig(channels="bgr", antialias=False),
    ),
    "ssd": Family(
        DetectionConfig(
            values=("box",),
            scores="scores",
            units="shares",
            encoding="priors",
            priors="priors",
            activation="softmax",
            background="first",
            choose="pairs",
            threshold=0.5,
            least=0.01,
            overlap=0.45,
        ),
        _PLAIN,
    ),
    "detr": Family(
        DetectionConfig(
            outputs=("pred_boxes",),
            scores="logits",
            values=("box",),
            units="shares",
            activation="softmax",
            background="last",
            threshold=0.5,
            least=0.0,
            overlap=None,
            most=1000,
            clip=False,
        ),
        ImageConfig(size=(800,), resize="shortest_edge", longest=1333, mean=_MEAN, std=_STD),
    ),
    "rt-detr": Family(
        DetectionConfig(
            outputs=("pred_boxes",),
            scores="logits",
            values=("box",),
            units="shares",
            activation="sigmoid",
            choose="pairs",
            threshold=0.5,
            least=0.0,
            overlap=None,
            clip=False,
        ),
        ImageConfig(size=(640, 640)),
    ),
    "torchvision": Family(
        DetectionConfig(
            outputs=("boxes",), scores="scores", classes="labels", values=("box",), box="corners", threshold=0.5,
            overlap=None,
        ),
        ImageConfig(),
    ),
    "tensorflow": Family(
        DetectionConfig(
            outputs=("detection_boxes",),
            scores="detection_scores",
            classes="detection_classes",
            count="num_detections",
            values=("box",),
            box="corners-yx",
            units="shares",
            threshold=0.5,
            overlap=None,
        ),
        _PLAIN,
    ),
}  # fmt: skip
ALIASES = {
    "yolov7": "yolov5",
    "yolov6": "yolov5",
    "yolov9": "yolov8",
    "yolov11": "yolov8",
    "yolo11": "yolov8",
    "yolo12": "yolov8",
    "yolov12": "yolov8",
    "yolos": "detr",
    "rtdetr": "rt-detr",
    "nanodetplus": "nanodet",
}
"""Families that write their boxes as another one does."""

_OF_CHECKPOINTS = {
    "detr": "detr",
    "yolos": "detr",
    "table-transformer": "detr",
    "rt_detr": "rt-detr",
    "rt_detr_v2": "rt-detr",
    "d_fine": "rt-detr",
    "conditional_detr": "rt-detr",
    "deformable_detr": "rt-detr",
}
"""By transformers' model type, as `post_process_object_detection` of each reads the outputs."""


def family(name: str) -> Family:
    """Return the family of that name. Raises UsageError for an unknown one."""
    key = ALIASES.get(name.casefold().replace("_", "").replace("-", ""), name.casefold())
    if key not in FAMILIES:
        raise UsageError(
            f"unknown family of detectors '{name}'.{nearest(name, FAMILIES, ALIASES)}",
            hint=f"known: {', '.join(FAMILIES)}; others are described without one",
        )
    return FAMILIES[key]


def of_checkpoint(config: Any) -> DetectionConfig | None:
    """Return how a transformers checkpoint's outputs become boxes, by its own config; None for an unknown family."""
    name = _OF_CHECKPOINTS.get(config.model_type)
    if name is None:
        return None
    detection = FAMILIES[name].detection
    queries = getattr(config, "num_queries", None)
    if config.model_type in ("conditional_detr", "deformable_detr"):
        queries = 100  # the default of their post_process_object_detection
    return replace(detection, most=queries) if name == "rt-detr" and isinstance(queries, int) else detection
