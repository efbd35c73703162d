"""Attention of an encoder-decoder model as a few operators, in place of the hundred that the tracer records of
transformers' own.

transformers prepares for padded texts of any length: it expands a mask of ones over the batch, adds it, compares, and
copies into a slice. A decoder that is exported with its keys and values as states is fed tokens without padding, so
that only their order masks anything; and where it is fed one token at a time, nothing does.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

_CAUSAL = "_prepare_4d_causal_attention_mask_with_cache_position"
_PADDED = ("_prepare_4d_attention_mask", "_prepare_4d_attention_mask_for_sdpa")
_ATTENTION = "sdpa"


@contextlib.contextmanager
def lean_attention(module: Any, *, one_token: bool) -> Iterator[None]:
    """Trace a module's attention and its masks in their short form; transformers is as before afterwards.

    With `one_token` the decoder is traced for one token at a time, which sees every position.
    """
    import sys

    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as functions

    changed: list[tuple[Any, str, Any]] = []
    classes = {base for each in module.modules() for base in type(each).__mro__}
    for owner in classes:
        if _CAUSAL in vars(owner):
            changed.append((owner, _CAUSAL, vars(owner)[_CAUSAL]))
            setattr(owner, _CAUSAL, staticmethod(functools.partial(_causal, one_token=one_token)))
    for file in filter(None, {sys.modules.get(owner.__module__) for owner in classes}):
        for name in _PADDED:
            if name in vars(file):
                changed.append((file, name, vars(file)[name]))
                setattr(file, name, _padded)
    usual = functions[_ATTENTION]
    functions[_ATTENTION] = functools.partial(_attention, usual=usual, one_token=one_token)
    try:
        yield
    finally:
        functions[_ATTENTION] = usual
        for owner, name, value in changed:
            setattr(owner, name, value)


def _causal(
    attention_mask: Any, sequence_length: Any, target_length: Any, dtype: Any, cache_position: Any, *_: Any,
    one_token: bool, **__: Any,
) -> Any:  # fmt: skip
    """Return what is added to the scores, [1, 1, tokens, positions]: 0, and the least number for later positions."""
    import torch

    if attention_mask is not None and attention_mask.dim() == 4:
        return attention_mask
    if one_token and int(sequence_length) == 1:
        return None
    places = torch.arange(target_length, device=cache_position.device)
    later = places[None, :] > cache_position[:, None]
    return later.to(dtype)[None, None] * torch.finfo(dtype).min


def _padded(mask: Any, dtype: Any, tgt_len: Any = None) -> Any:
    """Return what is added to the scores, [batch, 1, 1, positions]: 0, and the least number for padding."""
    import torch

    return (1.0 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min


def _attention(
    module: Any, query: Any, key: Any, value: Any, mask: Any, *others: Any, usual: Any, one_token: bool, **named: Any
) -> tuple[Any, None]:
    """Return softmax(scale Q K' + mask) V, [batch, tokens, heads, size]."""
    import torch

    alone = one_token and int(query.shape[2]) == 1
    if (mask is None and not alone and getattr(module, "is_causal", False)) or hasattr(module, "num_key_value_groups"):
        answer: tuple[Any, None] = usual(module, query, key, value, mask, *others, **named)
        return answer
    scale = named.get("scaling")
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scale is None else scale), key.transpose(2, 3))
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    return torch.matmul(weights, value).transpose(1, 2), None
