"""Read `preprocessor_config.json` as an ImageConfig: what each image processor of transformers does, as data.

Defaults are those of transformers 4.57 (`models/*/image_processing_*.py`); a checkpoint omits settings equal to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgekit.errors import UsageError
from edgekit.tasks.config import ImageConfig

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class _Defaults:
    """What a processor class does where the file has no setting."""

    size: int
    resample: int
    norm: tuple[tuple[float, ...], tuple[float, ...]] | None
    square: bool = True
    """Whether a single number is both sides; otherwise it is the shortest edge."""
    crop: int | None = None
    crops: bool = True
    scale: float = 1.0
    """The shortest edge is resized to this multiple of `size`."""
    flips: bool = False
    longest: int | None = None
    """The most pixels of the longest edge."""
    multiple: int = 1
    normalizes: bool = True
    pads: bool = False
    """Whether it pads the pictures of a batch to the greatest of them: one picture stays as it is."""


_DETR = _Defaults(800, 2, _IMAGENET, square=False, longest=1333, pads=True)

_PROCESSORS = {
    "ViTImageProcessor": _Defaults(224, 2, _HALF),
    "SiglipImageProcessor": _Defaults(224, 3, _HALF),
    "SegformerImageProcessor": _Defaults(512, 2, _IMAGENET),
    "DeiTImageProcessor": _Defaults(256, 3, _HALF, crop=224),
    "BeitImageProcessor": _Defaults(256, 3, _HALF, crop=224),
    "EfficientNetImageProcessor": _Defaults(346, 0, _HALF, crop=289, crops=False),
    "ConvNextImageProcessor": _Defaults(384, 2, _HALF, square=False),
    "BitImageProcessor": _Defaults(224, 3, _CLIP, square=False, crop=224),
    "CLIPImageProcessor": _Defaults(224, 3, _CLIP, square=False, crop=224),
    "LevitImageProcessor": _Defaults(224, 3, _IMAGENET, square=False, crop=224, scale=256 / 224),
    "MobileNetV1ImageProcessor": _Defaults(256, 2, _HALF, square=False, crop=224),
    "MobileNetV2ImageProcessor": _Defaults(256, 2, _HALF, square=False, crop=224),
    "MobileViTImageProcessor": _Defaults(224, 2, None, square=False, crop=256, flips=True),
    "DetrImageProcessor": _DETR,
    "ConditionalDetrImageProcessor": _DETR,
    "DeformableDetrImageProcessor": _DETR,
    "YolosImageProcessor": replace(_DETR, multiple=16),
    "RTDetrImageProcessor": _Defaults(640, 2, _IMAGENET, normalizes=False, pads=True),
}

_BY_MODEL_TYPE = {
    "vit": "ViTImageProcessor",
    "swin": "ViTImageProcessor",
    "swinv2": "ViTImageProcessor",
    "deit": "DeiTImageProcessor",
    "beit": "BeitImageProcessor",
    "convnext": "ConvNextImageProcessor",
    "convnextv2": "ConvNextImageProcessor",
    "resnet": "ConvNextImageProcessor",
    "regnet": "ConvNextImageProcessor",
    "dinov2": "BitImageProcessor",
    "mobilenet_v1": "MobileNetV1ImageProcessor",
    "mobilenet_v2": "MobileNetV2ImageProcessor",
    "mobilevit": "MobileViTImageProcessor",
    "efficientnet": "EfficientNetImageProcessor",
    "levit": "LevitImageProcessor",
    "segformer": "SegformerImageProcessor",
    "detr": "DetrImageProcessor",
    "table-transformer": "DetrImageProcessor",
    "conditional_detr": "ConditionalDetrImageProcessor",
    "deformable_detr": "DeformableDetrImageProcessor",
    "yolos": "YolosImageProcessor",
    "rt_detr": "RTDetrImageProcessor",
    "rt_detr_v2": "RTDetrImageProcessor",
    "d_fine": "RTDetrImageProcessor",
}
"""For files that do not name their class, as transformers resolves them."""

_IGNORED = {
    "do_convert_rgb",
    "do_reduce_labels",
    "data_format",
    "input_data_format",
    "return_tensors",
    "disable_grouping",
}
"""Settings that change nothing for one RGB picture."""


def image_config(
    settings: Mapping[str, Any], *, model_type: str | None, input_name: str = "pixel_values"
) -> tuple[ImageConfig | None, str]:
    """Return a processor's settings as an ImageConfig; where they cannot be mapped exactly, None and the reason.

    Raises UsageError for a value that is not a size.
    """
    kind = _kind(settings, model_type)
    if kind not in _PROCESSORS:
        return None, f"the image processor {kind or 'of unknown class'} has no equivalent here"
    defaults = _PROCESSORS[kind]
    asked, longest = settings.get("size", settings.get("shortest_edge")) or defaults.size, defaults.longest
    if defaults.pads:
        asked, longest = _bounded(asked, settings.get("max_size") or longest)
    size = _size(asked, defaults.square)
    padded = settings.get("pad_size") if defaults.pads else settings.get("do_pad")
    if size is None or padded or settings.get("size_divisor"):
        return None, f"{kind} pads or bounds both edges, which has no equivalent here"
    crop = _size(settings.get("crop_size") or defaults.crop or 0, True) if _crops(settings, defaults) else None
    if not settings.get("do_resize", True):
        size = None
    elif len(size) == 1:
        size, crop = _shortest_edge(kind, size[0], crop, settings, defaults)
    bounded = size is not None and len(size) == 1
    rescale, mean, std = _values(kind, settings, defaults)
    return ImageConfig(
        input=input_name,
        channels="bgr" if settings.get("do_flip_channel_order", defaults.flips) else "rgb",
        size=size,
        resize="shortest_edge" if bounded else "exact",
        longest=longest if bounded else None,
        multiple=defaults.multiple if bounded else 1,
        resample=int(settings.get("resample", defaults.resample) or 0),
        crop=crop,
        rescale=rescale,
        mean=mean,
        std=std,
    ), ""


def _kind(settings: Mapping[str, Any], model_type: str | None) -> str | None:
    class_name = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    if class_name is None:
        return _BY_MODEL_TYPE.get(model_type or "")
    # transformers names one processing by several classes: by age (FeatureExtractor) and by library (Fast, Pil).
    name = str(class_name).replace("FeatureExtractor", "ImageProcessor")
    for suffix in ("Fast", "Pil"):
        name = name.removesuffix(suffix)
    return name


def _crops(settings: Mapping[str, Any], defaults: _Defaults) -> bool:
    return defaults.crop is not None and bool(settings.get("do_center_crop", defaults.crops))


def _size(value: Any, square: bool) -> tuple[int, ...] | None:
    """Return a size: (height, width), (edge,), or None for one that bounds both edges. Raises UsageError otherwise."""
    if isinstance(value, int):
        return (value, value) if square else (value,)
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return (int(value[0]), int(value[1]))
    if isinstance(value, Mapping):
        if set(value) == {"height", "width"}:
            return (int(value["height"]), int(value["width"]))
        if set(value) == {"shortest_edge"}:
            return (int(value["shortest_edge"]),)
        if value:
            return None
    raise UsageError(
        f"preprocessor_config.json: '{value}' is not an image size.", hint='write it as {"height": 224, "width": 224}'
    )


def _bounded(size: Any, longest: int | None) -> tuple[Any, int | None]:
    """Return the size of a detector's processor without the bound of the longer edge, and that bound."""
    if isinstance(size, Mapping) and set(size) == {"shortest_edge", "longest_edge"}:
        return {"shortest_edge": size["shortest_edge"]}, int(size["longest_edge"])
    return size, longest if isinstance(size, int) else None


def _shortest_edge(
    kind: str, edge: int, crop: tuple[int, ...] | None, settings: Mapping[str, Any], defaults: _Defaults
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return (resize, crop) for a shortest edge. ConvNext: below 384 resize to edge / crop_pct and crop, else warp."""
    if kind == "ConvNextImageProcessor":
        share = settings.get("crop_pct") or 224 / 256
        return ((int(edge / share),), (edge, edge)) if edge < 384 else ((edge, edge), None)
    return (int(defaults.scale * edge),), crop


def _values(
    kind: str, settings: Mapping[str, Any], defaults: _Defaults
) -> tuple[float, tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return (rescale, mean, std) such that pixel * rescale, minus mean, over std, is what the processor computes."""
    rescale = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    if defaults.norm is not None and settings.get("do_normalize", defaults.normalizes):
        mean = _triple(settings.get("image_mean") or defaults.norm[0])
        std = _triple(settings.get("image_std") or defaults.norm[1])
    if kind == "EfficientNetImageProcessor":
        if settings.get("rescale_offset", False):  # pixel * rescale - 1
            mean = tuple(value + 1 for value in mean or (0.0, 0.0, 0.0))
            std = std or (1.0, 1.0, 1.0)
        if settings.get("include_top", True):  # divides by std once more, with mean 0
            again = _triple(settings.get("image_std") or _HALF[1])
            mean = mean or (0.0, 0.0, 0.0)
            std = tuple(a * b for a, b in zip(std or (1.0, 1.0, 1.0), again, strict=True))
    return rescale, mean, std


def _triple(value: Any) -> tuple[float, ...]:
    return (float(value),) * 3 if isinstance(value, (int, float)) else tuple(float(item) for item in value)
