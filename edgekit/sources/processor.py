"""The tokenizer or image processor beside a model, or named by the user, as fields of the TaskConfig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit._reading import guard
from edgekit.errors import UsageError
from edgekit.model import Reference
from edgekit.sources import audio_processor, checkpoint, description, image_processor
from edgekit.spec import TensorSpec
from edgekit.tasks import SEGMENTATION
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.segmentation_config import SegmentationConfig

FILE = "preprocessor_config.json"


def check_processor(reference: Reference) -> None:
    """Raise UsageError for a processor that does not exist."""
    if reference.processor and not Path(reference.processor).exists():
        raise UsageError(
            f"the processor '{reference.processor}' does not exist.",
            hint=f"pass a folder with tokenizer.json, a {FILE}, or a .toml that describes the model",
        )
    if reference.processor and description.is_description(Path(reference.processor)):
        description.check(Path(reference.processor))


def with_processor(
    base: TaskConfig,
    path: Path,
    assets: Path,
    reference: Reference,
    *,
    inputs: Sequence[TensorSpec],
    config: Any = None,
) -> TaskConfig:
    """Return `base` with the preprocessing that `path` (a folder, a preprocessor_config.json or a .toml) describes.

    A tokenizer is written into `assets`. Where the description cannot be mapped, `no_preprocessing` is the reason.
    `config` is the checkpoint's own configuration. Raises UsageError for files that cannot be read.
    """
    if description.is_description(path):
        return description.apply(base, path, assets, inputs)
    if any(spec.name.startswith("input_ids") for spec in inputs):
        return _with_text(base, path, assets, reference, inputs, config)
    file = path if path.is_file() else path / FILE
    if not file.is_file():
        return base
    settings = checkpoint.read_json(file)
    if audio_processor.is_audio(settings):
        return _with_sound(base, file, settings, assets, reference, config)
    spec = next((spec for spec in inputs if len(spec.shape) == 4), None)
    if spec is None:
        return replace(base, no_preprocessing="no input of the graph takes pictures (four dimensions)")
    with guard(f"the image processor '{file}'", hint="compare it with the one of the model's origin, and correct it"):
        image, reason = image_processor.image_config(
            settings, model_type=getattr(config, "model_type", None), input_name=spec.name
        )
    if image is None:
        return replace(base, no_preprocessing=reason)
    if base.generation is not None:
        _with_target(file.parent, assets, reference, config)
    channels_last = spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3)
    gray = spec.shape[3 if channels_last else 1] == 1
    reduced = settings.get("do_reduce_labels", settings.get("reduce_labels"))
    return replace(
        base,
        segmentation=SegmentationConfig(reduced=True) if reduced and base.task in SEGMENTATION else base.segmentation,
        image=replace(
            image,
            layout="nhwc" if channels_last else "nchw",
            channels="gray" if gray else image.channels,
        ),
    )


def _with_sound(
    base: TaskConfig, file: Path, settings: dict[str, Any], assets: Path, reference: Reference, config: Any
) -> TaskConfig:
    with guard(f"the feature extractor '{file}'", hint="compare it with the one of the model's origin, and correct it"):
        audio, reason = audio_processor.audio_config(settings, base.task, config)
    if audio is None:
        return replace(base, no_preprocessing=reason)
    if base.generation is not None:
        _with_target(file.parent, assets, reference, config)
        return replace(base, audio=audio)
    speech = base.task == "automatic-speech-recognition"
    return replace(base, audio=audio, ctc=audio_processor.ctc_config(file.parent, config) if speech else None)


def _with_target(folder: Path, assets: Path, reference: Reference, config: Any) -> None:
    """Write the tokenizer of generated text, where there is one."""
    from edgekit.sources import tokenizer

    if tokenizer.has_tokenizer(folder):
        tokenizer.write_tokenizer(folder, assets, (), config, reference)


def _with_text(
    base: TaskConfig, path: Path, assets: Path, reference: Reference, inputs: Sequence[TensorSpec], config: Any
) -> TaskConfig:
    from edgekit.sources import marian_tokenizer, tokenizer

    folder = path if path.is_dir() else path.parent
    if marian_tokenizer.is_marian(folder):
        text = marian_tokenizer.write(folder, assets, config)
        generation = base.generation and replace(base.generation, tokenizer=marian_tokenizer.VOCABULARY)
        return replace(base, text=text, generation=generation)
    if not tokenizer.has_tokenizer(folder):
        return replace(base, no_preprocessing=f"no tokenizer is in '{folder.name}'")
    names = [spec.name for spec in inputs]
    return replace(base, text=tokenizer.write_tokenizer(folder, assets, names, config, reference))
