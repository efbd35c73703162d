"""The language model of the test assets, stories260k, as a checkpoint with a tokenizer."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

SPECIAL = ("<unk>", "<s>", "</s>")


def checkpoint(assets: Path, folder: Path) -> Path:
    """Copy the checkpoint into `folder`, and write its tokenizer: pieces and their ranks become byte-pair merges."""
    shutil.copytree(assets / "stories260k-llama", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    pieces = _pieces((folder / "tok512.bin").read_bytes())
    ids = {piece: place for place, piece in enumerate(pieces)}
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in pieces[259:]
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(ids[token], token) for token in SPECIAL],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": ids,
            "merges": merges,
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _special(number: int, token: str) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": token, **flags}


def _pieces(data: bytes) -> list[str]:
    """Return the pieces of a vocabulary file: for each its score, its length and its bytes, the best score first."""
    pieces, at = list(SPECIAL), 4
    for place in range(512):
        _, size = struct.unpack_from("fi", data, at)
        if place >= len(SPECIAL):
            pieces.append(data[at + 8 : at + 8 + size].decode().replace(" ", "▁"))
        at += 8 + size
    return pieces
