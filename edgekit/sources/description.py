"""A file (.toml) that describes how a model's inputs are prepared and its outputs are read, given with --processor.

family = "yolov8"        # of edgekit.tasks.detectors; what follows changes single settings
labels = "coco"          # or a list, or a text file with a name on each line
[image]                  # the fields of ImageConfig
size = [640, 640]
[detection]              # the fields of DetectionConfig
threshold = 0.4

One with a table [audio] is of sounds: `sound_description`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import _toml
from edgekit._record import digest_of_file
from edgekit.errors import UsageError, nearest
from edgekit.sources import sound_description
from edgekit.spec import TensorSpec
from edgekit.tasks import detectors
from edgekit.tasks.config import ImageConfig, TaskConfig
from edgekit.tasks.detection_config import DetectionConfig

KEYS = ("family", "labels", "image", "detection")
SUFFIX = ".toml"

_DOCS = "docs/detection.md describes every key"


def is_description(path: Path) -> bool:
    return path.suffix == SUFFIX


def check(path: Path) -> None:
    """Raise UsageError for a file that is not a description, or names a file that is missing."""
    if sound_description.is_of_sounds(path):
        sound_description.read(path)
    else:
        _read(path)


def files(path: Path) -> list[Path]:
    """Return the file and those that it names."""
    if sound_description.is_of_sounds(path):
        return [path]
    content = _read(path)
    return [path, *_beside(path, content)]


def digests(path: Path) -> dict[str, str]:
    """Return the digests of the file and of those that it names, by name."""
    return {file.name: digest_of_file(file) for file in files(path)}


def apply(base: TaskConfig, path: Path, assets: Path, inputs: Sequence[TensorSpec]) -> TaskConfig:
    """Return `base` with what the file describes, for a graph with these inputs; files that it names are copied to
    `assets`.
    """
    if sound_description.is_of_sounds(path):
        return sound_description.apply(base, path, inputs)
    content = _read(path)
    kind = detectors.family(content["family"]) if "family" in content else None
    pictures = [spec for spec in inputs if len(spec.shape) == 4]
    settings = {} if kind is None else kind.image.to_dict()
    if len(pictures) == 1:
        settings |= _of_input(pictures[0], settings)
    image = ImageConfig.from_dict({**settings, **content.get("image", {})}, f"{path}: [image]")
    settings = {} if kind is None else kind.detection.to_dict()
    detection = DetectionConfig.from_dict({**settings, **content.get("detection", {})}, f"{path}: [detection]")
    priors = [file for file in _beside(path, content) if file.name == detection.priors]
    if priors:
        assets.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(priors[0], assets / priors[0].name)
    return replace(
        base, task=detectors.TASK, labels=_labels(path, content) or base.labels, image=image, detection=detection
    )


def _of_input(spec: TensorSpec, image: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an input shows: its name, its layout, and its size where the graph fixes it."""
    last = spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3)
    sides = list(spec.shape[1:3] if last else spec.shape[2:])
    settings: dict[str, Any] = {"input": spec.name, "layout": "nhwc" if last else "nchw"}
    if all(isinstance(side, int) for side in sides) and image.get("resize") != "shortest_edge":
        settings["size"] = sides
    return settings


def _read(path: Path) -> dict[str, Any]:
    content = _toml.read(path, "description", hint="give the path of a .toml file that describes the model")
    for key in content:
        if key not in KEYS:
            raise UsageError(f"'{path}': unknown key '{key}'.{nearest(key, KEYS)}", hint=_DOCS)
    if not {"family", "detection"} & set(content):
        raise UsageError(
            f"'{path}' describes no detector: it has neither a family nor a table [detection].", hint=_DOCS
        )
    for name, kind in (("family", str), ("image", dict), ("detection", dict)):
        if not isinstance(content.get(name, kind()), kind):
            what = "a text" if kind is str else f"a table, [{name}]"
            raise UsageError(f"'{path}': {name} is not {what}.", hint=_DOCS)
    if "family" in content:
        detectors.family(content["family"])
    for file in _beside(path, content):
        if not file.is_file():
            raise UsageError(f"'{path}' names the file '{file}', which does not exist.", hint="put it there")
    return content


def _beside(path: Path, content: Mapping[str, Any]) -> list[Path]:
    """Return the files that a description names, by their paths relative to it."""
    names = []
    labels = content.get("labels")
    if isinstance(labels, str) and labels != "coco":
        names.append(labels)
    priors = content.get("detection", {}).get("priors", "")
    if isinstance(priors, str) and priors.endswith(".npy"):
        names.append(priors)
    return [path.parent / name for name in names]


def _labels(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    labels = content.get("labels", ())
    if labels == "coco":
        return detectors.COCO
    if isinstance(labels, str):
        lines = (path.parent / labels).read_text(encoding="utf-8").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
        raise UsageError(f"'{path}': labels are not a list of names.", hint='write them as labels = ["cat", "dog"]')
    return tuple(labels)
