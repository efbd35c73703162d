"""Write a checkpoint's tokenizer as `tokenizer.json` and a TextConfig, which tokenize as transformers does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks.torch_model import first_line
from edgekit.model import Reference
from edgekit.sources import checkpoint
from edgekit.tasks import chat
from edgekit.tasks.config import TOKENIZER, TextConfig

_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")

_NO_LIMIT = 1_000_000
"""A tokenizer without a limit has a number like 10^30 as its limit."""


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _FILES)


def write_tokenizer(folder: Path, assets: Path, inputs: Sequence[str], config: Any, reference: Reference) -> TextConfig:
    """Write `assets/tokenizer.json` and return the TextConfig for a graph with these inputs.

    `config` is the model's own configuration, None for a model that has none. Raises UsageError for a tokenizer without
    a fast form, or one that runs code of its own.
    """
    tokenizer = _load(folder, reference)
    backend = tokenizer.backend_tokenizer
    # Truncation and padding in the file come from its author's last call; they are not properties of the model.
    backend.no_truncation()
    backend.no_padding()
    checkpoint.check_tokens(backend.get_vocab(), folder / TOKENIZER)
    sentence = _sentence_settings(folder)
    if sentence.get("do_lower_case"):
        _lower(backend)
    assets.mkdir(parents=True, exist_ok=True)
    backend.save(str(assets / TOKENIZER))
    chat.save(assets, getattr(tokenizer, "chat_template", None), tokenizer.special_tokens_map)
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = _pad_of(config)
    known = [name for name in inputs if name in ("input_ids", "attention_mask", "token_type_ids", "position_ids")]
    return TextConfig(
        inputs=tuple(known or ("input_ids", "attention_mask")),
        max_length=_max_length(folder, tokenizer, config),
        pad_id=int(pad),
        pad_type_id=int(tokenizer.pad_token_type_id or 0),
        # The graph gets one text at a time or a fixed length, where padding on the left would move positions.
        pad_side="right",
        prefix=_prompt(folder),
    )


def _sentence_settings(folder: Path) -> dict[str, Any]:
    path = folder / "sentence_bert_config.json"
    return checkpoint.read_json(path) if path.is_file() else {}


def _lower(backend: Any) -> None:
    """Make the tokenizer lower-case texts first, as sentence-transformers does outside the tokenizer."""
    from tokenizers import normalizers

    normalizer = backend.normalizer
    backend.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), *([normalizer] if normalizer is not None else [])]
    )


def _prompt(folder: Path) -> str:
    """Return the text that sentence-transformers puts before every text where its caller names no prompt."""
    path = folder / "config_sentence_transformers.json"
    settings = checkpoint.read_json(path) if path.is_file() else {}
    prompts, name = settings.get("prompts") or {}, settings.get("default_prompt_name")
    return str(prompts.get(name, "")) if name and isinstance(prompts, dict) else ""


def _pad_of(config: Any) -> int:
    for value in (getattr(config, "pad_token_id", None), getattr(config, "eos_token_id", None)):
        if isinstance(value, int) and value >= 0:
            return value
    return 0


def _check_ids(folder: Path) -> None:
    """Raise UsageError for a number of a token without end: reading it would take memory for all before it."""
    for name in ("tokenizer.json", "vocab.json", "added_tokens.json"):
        path = folder / name
        if not path.is_file():
            continue
        content = checkpoint.read_json(path)
        model = content.get("model") if name == TOKENIZER else {"vocab": content}
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        added = content.get("added_tokens") if name == TOKENIZER else None
        numbers = dict(vocabulary) if isinstance(vocabulary, dict) else {}
        if isinstance(added, list):
            numbers |= {str(token.get("content")): token.get("id") for token in added if isinstance(token, dict)}
        most = checkpoint.MOST_TOKENS
        checkpoint.check_tokens({token: n for token, n in numbers.items() if isinstance(n, int) and n > most}, path)


def _load(folder: Path, reference: Reference) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    _check_ids(folder)
    settings = {}
    if (folder / "tokenizer_config.json").is_file():
        settings = checkpoint.read_json(folder / "tokenizer_config.json")
    has_json = (folder / "tokenizer.json").is_file()
    if settings.get("auto_map") and not has_json and not reference.trust_remote_code:
        raise UsageError(
            f"the tokenizer of '{folder}' is Python code of its own, which is not allowed.",
            hint="read that code, then allow it with --trust-remote-code",
        )
    # With transformers 5 the tokenizer.json is complete, and the classes of 4 would change it: its LlamaTokenizer adds
    # a start token that 5 does not.
    is_generic = settings.get("backend") == "tokenizers" or settings.get("tokenizer_class") == "PreTrainedTokenizerFast"
    kind = PreTrainedTokenizerFast if has_json and is_generic else AutoTokenizer
    options = (
        {}
        if kind is PreTrainedTokenizerFast
        else {"trust_remote_code": bool(reference.trust_remote_code and not has_json)}
    )
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # whatever a malformed file leads to, in tokenizers' Rust or in transformers
        if has_json and kind is not PreTrainedTokenizerFast:
            return _generic_tokenizer(folder, error)
        raise _unreadable(folder, error) from error
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            f"the tokenizer of '{folder}' ({type(tokenizer).__name__}) has no fast form, which the device needs.",
            hint="save one with transformers: AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained(...)",
        )
    return tokenizer


def _generic_tokenizer(folder: Path, first: Exception) -> Any:
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise _unreadable(folder, first) from error


def _unreadable(folder: Path, error: Exception) -> UsageError:
    return UsageError(
        f"the tokenizer of '{folder}' cannot be read: {first_line(error)}.",
        hint="check tokenizer.json and tokenizer_config.json, or name another folder with --processor",
    )


def _max_length(folder: Path, tokenizer: Any, config: Any) -> int | None:
    """Return the least of the limits of sentence-transformers, tokenizer and position table; None without a limit."""
    limits = [tokenizer.model_max_length]
    limits.append(_sentence_settings(folder).get("max_seq_length"))
    limits.append(position_limit(config))
    known = [int(limit) for limit in limits if isinstance(limit, (int, float)) and 0 < limit < _NO_LIMIT]
    return min(known) if known else None


def position_limit(config: Any) -> int | None:
    """Return the number of tokens for which a model has positions; None where it has no table of them."""
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            # RoBERTa and its relatives count positions from padding_idx + 1: that many entries of the table are unused.
            offset = config.pad_token_id + 1 if config.model_type in _OFFSET_POSITIONS and config.pad_token_id else 0
            return value - offset
    return None


_OFFSET_POSITIONS = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "longformer",
    "roberta-prelayernorm",
    "xlm-roberta-xl",
)
