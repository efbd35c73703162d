"""The tokenizer of a Marian checkpoint: SentencePiece models of two languages, and one vocabulary of both.

transformers has no fast form of it, so two files are written for `tokenizers`: `tokenizer.json` splits the source's
text, and `vocabulary.json` gives the ids of its tokens and the text of those that are generated.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.torch_model import first_line
from edgekit.sources import checkpoint
from edgekit.sources.tokenizer import position_limit
from edgekit.tasks.config import TOKENIZER, TextConfig

SOURCE = "source.spm"
VOCABULARY = "vocabulary.json"
"""The file beside `tokenizer.json`."""

_LANGUAGE = re.compile(r">>.+<<")
_END, _UNKNOWN, _SPACE = "</s>", "<unk>", "\u2581"
_UNIGRAM = 1
"""The type of SentencePiece models in which pieces have scores."""


def is_marian(folder: Path) -> bool:
    """Return whether a folder has the files of a Marian tokenizer, and no fast one."""
    return (folder / SOURCE).is_file() and not (folder / TOKENIZER).is_file()


def write(folder: Path, assets: Path, config: Any) -> TextConfig:
    """Write both files into `assets` and return the TextConfig. Raises UsageError for files that cannot be read,
    UnsupportedError for a kind of SentencePiece model that is not Marian's.
    """
    vocabulary = checkpoint.read_json(folder / "vocab.json")
    checkpoint.check_tokens(vocabulary, folder / "vocab.json")
    file = folder / "tokenizer_config.json"
    settings = checkpoint.read_json(file) if file.is_file() else {}
    if settings.get("separate_vocabs") or (folder / "target_vocab.json").is_file():
        raise UnsupportedError(
            f"'{folder}' has a vocabulary for each language, which edgekit does not support.",
            hint="feed token ids (npz with the inputs' names), or train with one vocabulary",
        )
    if missing := [token for token in (_END, _UNKNOWN) if token not in vocabulary]:
        raise UsageError(
            f"'{folder / 'vocab.json'}' has no token '{missing[0]}'.", hint="copy the checkpoint's vocab.json again"
        )
    specials = [token for token in (_END, _UNKNOWN, "<pad>") if token in vocabulary]
    specials += sorted(token for token in vocabulary if _LANGUAGE.fullmatch(token))
    assets.mkdir(parents=True, exist_ok=True)
    _source(folder / SOURCE, specials).save(str(assets / TOKENIZER))
    _ids(vocabulary, [token for token in specials if not _LANGUAGE.fullmatch(token)]).save(str(assets / VOCABULARY))
    limits = [settings.get("model_max_length"), position_limit(config)]
    known = [int(limit) for limit in limits if isinstance(limit, (int, float)) and 0 < limit < 1_000_000]
    return TextConfig(
        inputs=("input_ids", "attention_mask"),
        max_length=min(known, default=None),
        pad_id=int(config.pad_token_id or 0),
        vocabulary=VOCABULARY,
        unknown=_UNKNOWN,
    )


def _source(path: Path, specials: list[str]) -> Any:
    """Return the tokenizer that splits as a SentencePiece model does."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    proto = _read(path)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    unknown = next((place for place, piece in enumerate(proto.pieces) if piece.type == 2), 0)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
    spaces = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if charsmap := proto.normalizer_spec.precompiled_charsmap:
        spaces.insert(0, normalizers.Precompiled(charsmap))
    tokenizer.normalizer = normalizers.Sequence(spaces)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    end = tokenizer.token_to_id(_END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", pair=f"$A $B {_END}", special_tokens=[(_END, end)]
    )
    return tokenizer


def _read(path: Path) -> Any:
    """Return the protobuf message of a SentencePiece model of the unigram type."""
    from transformers.convert_slow_tokenizer import import_protobuf

    message = import_protobuf().ModelProto()
    try:
        message.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own exceptions, by its implementation
        raise UsageError(
            f"'{path}' is not a SentencePiece model: {first_line(error)}", hint="copy the checkpoint's file again"
        ) from error
    if message.trainer_spec.model_type != _UNIGRAM or not message.pieces:
        raise UnsupportedError(
            f"'{path}' is not a unigram model of SentencePiece, as Marian's tokenizers are.",
            hint="feed token ids (npz with the inputs' names)",
        )
    return message


def _ids(vocabulary: dict[str, int], specials: list[str]) -> Any:
    """Return a tokenizer of whole tokens: their ids, and the text of ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    tokenizer.decoder = decoders.Metaspace(_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    return tokenizer
