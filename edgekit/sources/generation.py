"""How a model of transformers turns its scores into text: its generation_config.json as a Generation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from edgekit._reading import guard
from edgekit.errors import UsageError
from edgekit.sources import checkpoint
from edgekit.sources.tokenizer import position_limit
from edgekit.tasks.config import Generation

NAME = "generation_config.json"
_CORRECT = "compare it with the one of the model's origin, and correct it"

DEFAULT_NEW = 20
"""Tokens after the prompt where nothing states how many: transformers' default."""

_FOLLOWED = {
    *("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens"),
    *("min_length", "min_new_tokens", "num_beams", "length_penalty", "early_stopping", "repetition_penalty"),
    *("no_repeat_ngram_size", "bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens"),
    *("begin_suppress_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p"),
}
_NO_EFFECT = {
    *("transformers_version", "_from_model_config", "use_cache", "return_dict_in_generate", "output_attentions"),
    *("output_hidden_states", "output_scores", "output_logits", "renormalize_logits", "remove_invalid_values"),
    *("cache_implementation",),
}
_WHISPER = {
    *(
        "language",
        "task",
        "is_multilingual",
        "lang_to_id",
        "task_to_id",
        "no_timestamps_token_id",
        "forced_decoder_ids",
    ),
    *("alignment_heads", "max_initial_timestamp_index", "prev_sot_token_id", "median_filter_width"),
}
"""Keys that make Whisper's prompt, and those of timestamps, which are not written."""
_SAMPLING = {"typical_p", "epsilon_cutoff", "eta_cutoff"}
"""Keys that change no text without sampling."""


def check(folder: Path) -> None:
    """Raise UsageError, naming the file, for a generation_config.json that transformers does not read."""
    from transformers import GenerationConfig

    file = folder / NAME
    if file.is_file():
        settings = checkpoint.read_json(file)
        with guard(f"'{file}'", hint=_CORRECT):
            GenerationConfig.from_dict(settings)


def of_decoder(module: Any) -> Generation:
    """Return how the decoder of an encoder-decoder model generates. Raises UsageError where it does not state the first
    token.
    """
    settings = module.generation_config
    start = settings.decoder_start_token_id
    start = settings.bos_token_id if start is None else start
    if not isinstance(start, int) or not _known(module, start):
        raise UsageError(
            "the model does not state the token that its text begins with, or not one of its vocabulary.",
            hint="set decoder_start_token_id in its generation_config.json",
        )
    with _guarded(module):
        prompt, languages = _prompt(module)
        begun = 1 + bool(languages) + len(prompt)
        most = settings.max_new_tokens
        longest = settings.max_length if most is None else most + begun
        if most is None and longest == type(settings)().max_length:
            longest += begun  # transformers' default counts the tokens behind these
        return _generation(
            module,
            start=start,
            prompt=prompt,
            languages=languages,
            max_length=longest,
            min_length=settings.min_length if settings.min_new_tokens is None else settings.min_new_tokens + begun,
        )


def _prompt(module: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens that follow Whisper's first one, and those of the languages where it is to detect which is
    spoken; nothing for other models.
    """
    if module.config.model_type != "whisper":
        return (), ()
    import torch

    settings = copy.deepcopy(module.generation_config)
    languages: list[int] = []

    def detect(**_: Any) -> Any:
        languages.extend(sorted(settings.lang_to_id.values()))
        return torch.tensor(languages[:1])

    settings.return_timestamps = False
    module.detect_language = detect
    try:
        tokens = module._retrieve_init_tokens(None, 1, settings, module.config, 0, {})[0].tolist()
    finally:
        del module.detect_language
    return tuple(tokens[2 if languages else 1 :]), tuple(languages)


def of_language_model(module: Any) -> Generation:
    """Return how a model that continues a text generates."""
    settings = module.generation_config
    start = settings.bos_token_id
    most = settings.max_new_tokens
    if most is None and settings.max_length == type(settings)().max_length:
        most = DEFAULT_NEW
    with _guarded(module):
        return _generation(
            module,
            start=start if isinstance(start, int) else 0,
            max_length=settings.max_length,
            min_length=settings.min_length,
            max_new=most,
            min_new=settings.min_new_tokens,
        )


def _file(module: Any) -> str:
    return f"'{Path(module.config._name_or_path or type(module).__name__) / NAME}'"


def _guarded(module: Any) -> AbstractContextManager[None]:
    return guard(_file(module), hint=_CORRECT)


def _generation(module: Any, **lengths: Any) -> Generation:
    """Return the settings, checked as those of a bundle are. Raises UsageError that names their file."""
    check(Path(module.config._name_or_path))  # transformers ignores one that is not JSON, and takes its defaults
    settings = module.generation_config
    early = settings.early_stopping
    sampled = bool(settings.do_sample)
    not_followed = {*settings.to_diff_dict()} - _FOLLOWED - _NO_EFFECT - _WHISPER - (set() if sampled else _SAMPLING)
    stops = _ids(settings.eos_token_id)
    generation = Generation(
        **lengths,
        stops=_drawn(module, stops),
        context=position_limit(getattr(module.config, "decoder", module.config)),
        vocabulary=_vocabulary(module),
        beams=settings.num_beams,
        sampled=sampled,
        temperature=float(settings.temperature or 1.0),
        top_k=int(settings.top_k or 0),
        top_p=float(settings.top_p or 1.0),
        min_p=float(settings.min_p or 0.0),
        length_penalty=float(settings.length_penalty),
        early_stopping="never" if early == "never" else "yes" if early else "no",
        repetition_penalty=float(settings.repetition_penalty or 1.0),
        no_repeat_ngram=settings.no_repeat_ngram_size or 0,
        bad_words=tuple(
            tuple(word) for word in settings.bad_words_ids or () if list(word) not in [[stop] for stop in stops]
        ),
        forced_first=settings.forced_bos_token_id,
        forced_last=_ids(settings.forced_eos_token_id),
        suppressed=_drawn(module, _ids(settings.suppress_tokens)),
        suppressed_first=_drawn(module, _ids(settings.begin_suppress_tokens)),
        not_followed=tuple(sorted(not_followed)),
    )
    return Generation.from_dict(generation.to_dict(), _file(module))


def _ids(value: Any) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)


def _drawn(module: Any, tokens: Sequence[int]) -> tuple[int, ...]:
    """Return the tokens that can be drawn: configs name others, such as -1, and they have no effect."""
    return tuple(token for token in tokens if _known(module, token))


def _known(module: Any, token: int) -> bool:
    size = _vocabulary(module)
    return token >= 0 and (size is None or token < size)


def _vocabulary(module: Any) -> int | None:
    return getattr(module.config.get_text_config(), "vocab_size", None)
