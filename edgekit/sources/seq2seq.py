"""Encoder-decoder models of transformers: how they generate, and the original that is run part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from edgekit.errors import BuildError, UsageError
from edgekit.frameworks.torch_model import first_line, limited_threads, to_torch
from edgekit.sources.tokenizer import position_limit
from edgekit.spec import DECODER, ENCODER, TensorSpec
from edgekit.tasks.config import SEQ2SEQ, Generation

if TYPE_CHECKING:
    import numpy as np

INPUTS = tuple(
    TensorSpec(name, "i64", ("batch_size", "encoder_sequence_length")) for name in ("input_ids", "attention_mask")
)

_TRANSLATES = ("marian", "m2m_100", "mbart", "nllb-moe")
_SUMMARISES = ("pegasus", "bigbird_pegasus", "led")

_FOLLOWED = {
    *("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens"),
    *("min_length", "min_new_tokens", "num_beams", "length_penalty", "early_stopping", "repetition_penalty"),
    *("no_repeat_ngram_size", "bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens"),
    *("begin_suppress_tokens",),
}
_NO_EFFECT = {
    *("transformers_version", "_from_model_config", "use_cache", "return_dict_in_generate", "output_attentions"),
    *("output_hidden_states", "output_scores", "output_logits", "renormalize_logits", "remove_invalid_values"),
    *("temperature", "top_k", "top_p", "typical_p", "min_p", "cache_implementation"),
}
"""Keys that change no text without sampling."""


def is_seq2seq(config: Any, task: str) -> bool:
    """Return whether a model of this task generates text from an encoder's output."""
    return bool(getattr(config, "is_encoder_decoder", False)) and task.removesuffix("-with-past") in SEQ2SEQ


def task_name(config: Any, asked: str | None) -> str:
    """Return the task that the user named, or that models of this type are trained for."""
    if asked in SEQ2SEQ:
        return asked
    if config.model_type in _TRANSLATES:
        return "translation"
    return "summarization" if config.model_type in _SUMMARISES else "text2text-generation"


def generation(module: Any) -> Generation:
    """Return how the model generates, by its generation_config.json or, where it has none, its config.json.

    Raises UsageError where it does not state the first token.
    """
    settings = module.generation_config
    start = settings.decoder_start_token_id
    start = settings.bos_token_id if start is None else start
    if not isinstance(start, int):
        raise UsageError(
            "the model does not state the token that its text begins with.",
            hint="set decoder_start_token_id in its generation_config.json",
        )
    longest = settings.max_length if settings.max_new_tokens is None else settings.max_new_tokens + 1
    if settings.max_new_tokens is None and longest == type(settings)().max_length:
        longest += 1  # transformers' default counts the tokens behind the first
    if (limit := position_limit(module.config)) is not None:
        longest = min(longest, limit)
    early = settings.early_stopping
    return Generation(
        start=start,
        stops=_ids(settings.eos_token_id),
        max_length=longest,
        min_length=settings.min_length if settings.min_new_tokens is None else settings.min_new_tokens + 1,
        beams=settings.num_beams,
        length_penalty=float(settings.length_penalty),
        early_stopping="never" if early == "never" else "yes" if early else "no",
        repetition_penalty=float(settings.repetition_penalty or 1.0),
        no_repeat_ngram=settings.no_repeat_ngram_size or 0,
        bad_words=tuple(
            tuple(word)
            for word in settings.bad_words_ids or ()
            if list(word) not in [[stop] for stop in _ids(settings.eos_token_id)]
        ),
        forced_first=settings.forced_bos_token_id,
        forced_last=_ids(settings.forced_eos_token_id),
        suppressed=_ids(settings.suppress_tokens),
        suppressed_first=_ids(settings.begin_suppress_tokens),
        not_followed=tuple(sorted(key for key in settings.to_diff_dict() if key not in _FOLLOWED | _NO_EFFECT)),
    )


def _ids(value: Any) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)


@dataclass
class Seq2SeqOriginal:
    """Run the torch module as its three parts, with a cache of its own."""

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
                return self._encode(tensors) if part == ENCODER else self._decode(part, tensors)
        except Exception as error:  # the model's own code can raise anything
            raise BuildError(f"the original model does not run: {first_line(error)}") from error

    def _encode(self, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
        self._encoded = self.module.get_encoder()(**tensors)
        return {}

    def _decode(self, part: str, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = self.module(
            encoder_outputs=self._encoded,
            attention_mask=tensors["encoder_attention_mask"],
            decoder_input_ids=tensors["input_ids"],
            past_key_values=None if part == DECODER else self._cache,
            use_cache=True,
        )
        self._cache = outputs.past_key_values
        return {"logits": outputs.logits.cpu().numpy()}
