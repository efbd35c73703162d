"""How a transformers model that optimum does not describe is exported: one forward, tensors in, tensors out.

Its inputs are found by running it, on the arguments that its forward takes or on examples that the user gives; its
outputs and their free sizes by running it again on other sizes. The config is one that optimum's exporter takes.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from optimum.exporters.onnx.base import OnnxConfig
from optimum.utils import NormalizedConfig

from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.torch_call import name_outputs
from edgekit.frameworks.torch_model import first_line

BATCH, SEQUENCE, AUDIO = "batch_size", "sequence_length", "audio_sequence_length"

_EXAMPLE = {BATCH: 2, SEQUENCE: 16, AUDIO: 4000}
_PICTURE = 224
_RESULTS = ("loss", "past_key_values", "cache_params", "past_buckets_states", "state", "mems")
"""What forward returns for training or for its next step; the graph leaves it out."""

Sizes = Mapping[str, Mapping[int, str]]


class TracedConfig(OnnxConfig):  # type: ignore[misc]  # optimum is not checked
    """An exporter's config of one module, made from what the module computes."""

    NORMALIZED_CONFIG_CLASS = NormalizedConfig
    traced = True

    def __init__(self, config: Any, examples: Mapping[str, Any], inputs: Sizes, outputs: Sizes) -> None:
        super().__init__(config)
        self._examples = dict(examples)
        self._inputs, self._outputs = inputs, outputs

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        return {name: dict(sizes) for name, sizes in self._inputs.items()}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        return {name: dict(sizes) for name, sizes in self._outputs.items()}

    @property
    def integer_ranges(self) -> dict[str, tuple[int, int]]:
        """The lowest and highest value of the integer inputs but token ids, in the examples."""
        return {
            name: (int(value.min()), int(value.max()))
            for name, value in self._examples.items()
            if not value.is_floating_point() and not name.endswith("input_ids")
        }

    def generate_dummy_inputs(self, framework: str = "pt", **sizes: int) -> dict[str, Any]:
        """Return the examples, with the free sizes that are given."""
        examples = resized(self._examples, self._inputs, sizes)
        return {name: value.numpy() if framework == "np" else value.clone() for name, value in examples.items()}


def describe(module: Any, examples: Mapping[str, Any] | None = None) -> TracedConfig:
    """Return the config of a transformers module. Raises UnsupportedError where no arguments are known to run it."""
    module.config.return_dict = True
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    problem = "its forward takes none of the usual inputs"
    for feeds, inputs in _user_examples(examples) if examples else _usual_inputs(module):
        try:
            before = outputs_of(module, feeds)
        except Exception as error:  # the model's own code can raise anything
            problem = first_line(error).rstrip(".")
            continue
        if not before:
            problem = "it returns no tensors of its own for one forward"
            continue
        return TracedConfig(module.config, feeds, inputs, _output_sizes(module, feeds, inputs, before))
    name = type(module).__name__
    if examples:
        raise UsageError(
            f"'{name}' does not run on its example inputs: {problem[:200]}.",
            hint="return (module, a dict of tensors by argument name) that its forward takes",
        )
    raise UnsupportedError(
        f"neither optimum nor edgekit has the inputs of '{name}': {problem[:200]}.",
        hint="pass package.module:factory that returns (module, a dict of example inputs)",
    )


def outputs_of(module: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one forward computes, tensors by name."""
    with torch.no_grad():
        return named(module(**{name: value.clone() for name, value in feeds.items()}))


def named(result: Any) -> dict[str, Any]:
    """Return the tensors of a result by name; the results for training and for a next step are left out."""
    if isinstance(result, Mapping):
        result = {name: value for name, value in result.items() if name not in _RESULTS}
        return {name: value for name, value in result.items() if isinstance(value, torch.Tensor)}
    return name_outputs(result)


def resized(examples: Mapping[str, Any], inputs: Sizes, wanted: Mapping[str, int]) -> dict[str, Any]:
    """Return the examples with other free sizes: cut, or with their first elements repeated."""
    changed = {}
    for name, value in examples.items():
        for index, size in inputs.get(name, {}).items():
            if size in wanted and wanted[size] != value.shape[index]:
                repeats = -(-wanted[size] // value.shape[index])
                value = torch.cat([value] * repeats, dim=index).narrow(index, 0, wanted[size])
        changed[name] = value.contiguous()
    return changed


def _user_examples(examples: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Sizes]]:
    feeds = {str(name): torch.as_tensor(value) for name, value in examples.items()}
    batched = len({value.shape[0] if value.dim() else None for value in feeds.values()}) == 1
    yield feeds, {name: {0: BATCH} if batched and value.dim() else {} for name, value in feeds.items()}


def _usual_inputs(module: Any) -> Iterator[tuple[dict[str, Any], Sizes]]:
    """Yield arguments that the module may run on: those of its kind, sound and pictures in the forms that occur."""
    parameters = inspect.signature(module.forward).parameters
    choices = [_text(module, parameters), _pictures(module, parameters), _sound(module, parameters)]
    for combination in itertools.product(*(choice for choice in choices if choice)):
        merged = dict(itertools.chain.from_iterable(part.items() for part in combination))
        if merged:
            ordered = {name: merged[name] for name in parameters if name in merged}
            yield {name: value for name, (value, _) in ordered.items()}, {k: sizes for k, (_, sizes) in ordered.items()}


def _text(module: Any, parameters: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    if "input_ids" not in parameters:
        return ()
    config = _part(module.config, "text_config")
    shape = (_EXAMPLE[BATCH], _EXAMPLE[SEQUENCE])
    words = max(4, min(30, getattr(config, "vocab_size", None) or 30))
    ids = torch.randint(3, words, shape, generator=torch.Generator().manual_seed(0))
    sizes = {0: BATCH, 1: SEQUENCE}
    inputs: dict[str, Any] = {"input_ids": (ids, sizes)}
    if "attention_mask" in parameters:
        inputs["attention_mask"] = (torch.ones(shape, dtype=torch.int64), sizes)
    if "token_type_ids" in parameters and (getattr(config, "type_vocab_size", 0) or 0) > 1:
        inputs["token_type_ids"] = (torch.zeros(shape, dtype=torch.int64), sizes)
    if "bbox" in parameters:
        boxes = torch.tensor([1, 2, 5, 8]).expand(*shape, 4)
        inputs["bbox"] = (boxes.contiguous(), sizes)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters:
        inputs["decoder_input_ids"] = (ids.clone(), {0: BATCH, 1: "decoder_sequence_length"})
    return (inputs,)


def _pictures(module: Any, parameters: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    if "pixel_values" not in parameters and "pixel_values_videos" not in parameters:
        return ()
    config = _part(module.config, "vision_config")
    size = _picture_size(config)
    channels = getattr(config, "num_channels", None) or getattr(config, "in_channels", None) or 3
    draw = torch.Generator().manual_seed(0)
    flat = torch.randn((_EXAMPLE[BATCH], int(channels), *size), generator=draw)
    free = {0: BATCH}
    if "pixel_values_videos" in parameters or getattr(config, "num_frames", None):
        frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None) or 4
        name = "pixel_values_videos" if "pixel_values_videos" in parameters else "pixel_values"
        return ({name: (flat[:, None].expand(-1, frames, -1, -1, -1).contiguous(), free)},)
    inputs: dict[str, Any] = {"pixel_values": (flat, free)}
    if "input_points" in parameters:  # a mask is asked for by a point: one point of one object in each picture
        inputs["input_points"] = (torch.full((_EXAMPLE[BATCH], 1, 1, 2), size[0] / 2), {0: BATCH, 2: "points"})
        inputs["input_labels"] = (torch.ones((_EXAMPLE[BATCH], 1, 1), dtype=torch.int64), {0: BATCH, 2: "points"})
    return (inputs,)


def _sound(module: Any, parameters: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    config = _part(module.config, "audio_config")
    draw = torch.Generator().manual_seed(0)
    if "input_values" in parameters:
        waves = torch.randn((_EXAMPLE[BATCH], _EXAMPLE[AUDIO]), generator=draw)
        frames = (
            _EXAMPLE[BATCH],
            int(getattr(config, "max_length", 0) or 64),
            int(getattr(config, "num_mel_bins", 64)),
        )
        return (
            {"input_values": (waves, {0: BATCH, 1: AUDIO})},
            {"input_values": (waves[:, None].contiguous(), {0: BATCH, 2: AUDIO})},
            {"input_values": (torch.randn(frames, generator=draw), {0: BATCH})},
        )
    if "input_features" in parameters:
        names = ("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "n_mels")
        bins = next((int(size) for name in names if (size := getattr(config, name, None))), 80)
        return tuple(
            {"input_features": (torch.randn(shape, generator=draw), free)}
            for shape, free in (
                ((_EXAMPLE[BATCH], 64, bins), {0: BATCH, 1: SEQUENCE}),
                ((_EXAMPLE[BATCH], bins, 2 * int(getattr(config, "max_source_positions", 0) or 32)), {0: BATCH}),
            )
        )
    return ()


def _part(config: Any, name: str) -> Any:
    return getattr(config, name, None) or config


def _picture_size(config: Any) -> tuple[int, int]:
    """Return height and width of the pictures that a configuration names, at whatever depth; else 224."""
    for part in (config, *(getattr(config, name, None) for name in ("backbone_config", "encoder", "vision_config"))):
        for name in ("image_size", "input_size", "img_size", "crop_size"):
            if size := getattr(part, name, None):
                height, width = size[-2:] if isinstance(size, (list, tuple)) else (size, size)
                return int(height), int(width)
    return _PICTURE, _PICTURE


def _output_sizes(module: Any, feeds: Mapping[str, Any], inputs: Sizes, before: Mapping[str, Any]) -> Sizes:
    """Return the free sizes of the outputs by name: those that change with a free size of the inputs."""
    sizes: dict[str, dict[int, str]] = {name: {} for name in before}
    for symbol in sorted({size for free in inputs.values() for size in free.values()}):
        old = next(feeds[name].shape[i] for name, free in inputs.items() for i, size in free.items() if size == symbol)
        new = old + 1 if symbol != AUDIO else 2 * old
        try:
            after = outputs_of(module, resized(feeds, inputs, {symbol: new}))
        except Exception:  # the model does not take this size alone: the export tells
            continue
        for name, value in before.items():
            if name not in after or after[name].dim() != value.dim():
                continue
            for index in range(value.dim()):
                if value.shape[index] != after[name].shape[index]:
                    equal = (value.shape[index], after[name].shape[index]) == (old, new)
                    sizes[name][index] = symbol if equal else f"{name}_{index}"
    return sizes
