"""A file (.toml) that describes the front end of a model that takes sounds, given with --processor.

task = "audio-classification"    # or audio-frame-classification: times of speech
labels = ["yes", "no"]           # by index
activation = "probabilities"     # or "logits"
[audio]                          # the fields of AudioConfig
rate = 16000
length = 16000
[audio.spectrum]                 # the fields of SpectrumConfig; without this table the model takes samples
mels = 40
coefficients = 40
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edgekit import _toml
from edgekit._record import Record
from edgekit.errors import UsageError, nearest
from edgekit.spec import TensorSpec
from edgekit.tasks.audio import FRAMES
from edgekit.tasks.config import AudioConfig, TaskConfig

CLASSES = "audio-classification"

KEYS = ("task", "labels", "activation", "audio")

_DOCS = "docs/audio.md describes every key"

_ACTIVATIONS: tuple[Literal["logits", "probabilities"], ...] = ("logits", "probabilities")


def is_of_sounds(path: Path) -> bool:
    """Return whether a description has a table of sounds. Raises UsageError for a file that is not TOML."""
    return "audio" in _content(path)


def _content(path: Path) -> dict[str, Any]:
    return _toml.read(path, "description", hint="give the path of a .toml file that describes the model")


def read(path: Path) -> dict[str, Any]:
    """Return the content of a description. Raises UsageError for one that is not of sounds, or has a bad value."""
    content = _content(path)
    for key in content:
        if key not in KEYS:
            raise UsageError(f"'{path}': unknown key '{key}'.{nearest(key, KEYS)}", hint=_DOCS)
    if not isinstance(content.get("audio"), Mapping):
        raise UsageError(f"'{path}' describes no front end: it has no table [audio].", hint=_DOCS)
    for key, known in (("task", (CLASSES, FRAMES)), ("activation", _ACTIVATIONS)):
        if key in content and content[key] not in known:
            raise UsageError(f"'{path}': {key} is '{content[key]}', not {' or '.join(known)}.", hint=_DOCS)
    labels = content.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UsageError(f"'{path}': labels are not a list of names.", hint='write them as labels = ["yes", "no"]')
    _audio(path, content["audio"])
    return content


def task_of(path: Path) -> str:
    """Return the task that a description names, or that its steps imply."""
    content = read(path)
    task: str = content.get("task") or (FRAMES if "step" in content["audio"] else CLASSES)
    return task


def apply(base: TaskConfig, path: Path, inputs: Sequence[TensorSpec]) -> TaskConfig:
    """Return `base` with what the file describes, for a graph with these inputs."""
    content = read(path)
    audio = _audio(path, content["audio"])
    floats = [spec for spec in inputs if spec.dtype in ("f32", "f16")]
    if "input" not in content["audio"] and len(floats) == 1:
        audio = replace(audio, input=floats[0].name)
    samples = next((spec.shape[-1] for spec in floats if spec.name == audio.input), None)
    if audio.features == "samples" and audio.length is None and audio.step is None and isinstance(samples, int):
        audio = replace(audio, length=samples)
    task = base.task if base.task in (CLASSES, FRAMES) else task_of(path)
    return replace(
        base,
        task=task,
        labels=tuple(content.get("labels", ())) or base.labels,
        activation=content.get("activation", base.activation),
        audio=audio,
    )


def _audio(path: Path, settings: Mapping[str, Any]) -> AudioConfig:
    features = {"features": "spectrum"} if "spectrum" in settings else {}
    config: Record = AudioConfig.from_dict({**features, **settings}, f"{path}: [audio]")
    assert isinstance(config, AudioConfig)
    return config
