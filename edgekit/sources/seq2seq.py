"""Encoder-decoder models of transformers that write text: their task, and the original that is run part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from edgekit.errors import BuildError
from edgekit.frameworks import optimum_config
from edgekit.frameworks.torch_model import first_line, limited_threads, to_torch
from edgekit.spec import ENCODER, TensorSpec
from edgekit.tasks.config import ENCODED, SEQ2SEQ

if TYPE_CHECKING:
    import numpy as np

INPUTS = tuple(
    TensorSpec(name, "i64", ("batch_size", "encoder_sequence_length")) for name in ("input_ids", "attention_mask")
)

_TRANSLATES = ("marian", "m2m_100", "mbart", "nllb-moe")
_SUMMARISES = ("pegasus", "bigbird_pegasus", "led")


def is_seq2seq(config: Any, task: str) -> bool:
    """Return whether a model of this task generates text from an encoder's output."""
    return bool(getattr(config, "is_encoder_decoder", False)) and task.removesuffix("-with-past") in ENCODED


def inputs(exporter: Any, task: str) -> tuple[TensorSpec, ...]:
    """Return the encoder's inputs, of optimum's config."""
    return INPUTS if task in SEQ2SEQ else optimum_config.input_specs(exporter.with_behavior("encoder"))


def example_sizes(exporter: Any, task: str) -> dict[str, int]:
    """Return a number for each free size of the encoder's inputs, as its config and processor have it: of pictures and
    sounds; a text may have any length.
    """
    return {} if task in SEQ2SEQ else optimum_config.example_sizes(exporter.with_behavior("encoder"))


def task_name(config: Any, task: str, asked: str | None) -> str:
    """Return the task that the user named, or that models of this type are trained for."""
    if asked in SEQ2SEQ:
        return asked
    if task not in SEQ2SEQ:
        return task
    if config.model_type in _TRANSLATES:
        return "translation"
    return "summarization" if config.model_type in _SUMMARISES else "text2text-generation"


@dataclass
class Seq2SeqOriginal:
    """Run the torch module as its two parts, with a cache of its own."""

    module: Any
    framework: str
    _encoded: Any = field(default=None, repr=False)
    _cache: Any = field(default=None, repr=False)

    def start(self) -> None:
        self._encoded = self._cache = None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the encoder."""
        return self.run_part(ENCODER, feeds)

    def run_part(self, part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs that are not states. Raises BuildError with the message of the module's own exception."""
        tensors = to_torch(feeds)
        try:
            with torch.inference_mode(), limited_threads(self.module):
                return self._encode(tensors) if part == ENCODER else self._decode(tensors)
        except Exception as error:  # the model's own code can raise anything
            raise BuildError(f"the original model does not run: {first_line(error)}") from error

    def _encode(self, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
        self._encoded, self._cache = self.module.get_encoder()(**tensors), None
        return {}

    def _decode(self, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = self.module(
            encoder_outputs=self._encoded,
            **({"attention_mask": tensors["encoder_attention_mask"]} if "encoder_attention_mask" in tensors else {}),
            decoder_input_ids=tensors["input_ids"],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = outputs.past_key_values
        return {"logits": outputs.logits[:, -1:].cpu().numpy()}
