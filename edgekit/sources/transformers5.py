"""Checkpoints saved by transformers 5, read with 4.57: renamed settings are mapped, those without an equal are refused.

A setting that 4.57 does not know is not an error there; it falls back to a default and the numbers are silently wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import UsageError

_SCALING = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": (
        "factor",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "original_max_position_embeddings",
        "mscale",
        "mscale_all_dim",
        "truncate",
    ),
    "longrope": ("short_factor", "long_factor", "factor", "attention_factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""The kinds of scaling that 4.57 computes (modeling_rope_utils.ROPE_INIT_FUNCTIONS) and the settings that each reads.
"""

_ROPE = {"rope_theta", "rope_type", "type", "partial_rotary_factor"}
_FULL, _SLIDING = "full_attention", "sliding_attention"

_NAMES = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "gpt_neox_japanese": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "modernbert": {"rope_theta": "global_rope_theta", "sliding": "local_rope_theta"},
    "modernbert-decoder": {"rope_theta": "global_rope_theta", "sliding": "local_rope_theta"},
    "gemma3_text": {"sliding": "rope_local_base_freq"},
    "gemma3n_text": {"sliding": "rope_local_base_freq"},
    "qwen3_moe": {"num_local_experts": "num_experts"},
}
"""Settings with another name in 4.57, by model type; found by comparing the saved defaults of 5.23 and 4.57."""

_FIXED = {
    "use_bidirectional_attention": (None, False),
    "scale_decoder_outputs": (None, True),
    "vision_use_head": (None, True),
}
"""Settings that are new in 5, and the values with which 4.57 computes the same."""


def adapt(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of `config.json` as 4.57 reads them; nested configurations are adapted too.

    Raises UsageError, naming the setting, for what 4.57 cannot compute.
    """
    adapted: dict[str, Any] = {}
    for key, value in settings.items():
        nested = key.endswith("_config") and isinstance(value, Mapping)
        adapted[key] = adapt(value, f"{where}: {key}") if nested else value
    names = _NAMES.get(str(settings.get("model_type")), {})
    if "num_local_experts" in names and "num_local_experts" in adapted:
        adapted.setdefault(names["num_local_experts"], adapted["num_local_experts"])
    for key, harmless in _FIXED.items():
        if key in adapted and adapted[key] not in harmless:
            raise _unsupported(f"the setting '{key} = {adapted[key]}'", where)
    if str(settings.get("model_type")).startswith("modernbert") and "layer_types" in adapted:
        adapted["global_attn_every_n_layers"] = _period(adapted.pop("layer_types"), where)
    rope = adapted.pop("rope_parameters", None)
    if rope:
        adapted.update(_rope(rope, names, where))
    return adapted


def _period(layers: list[str], where: str) -> int:
    """Return n where every n-th layer attends to all tokens and the others to their neighbourhood."""
    full = [index for index, kind in enumerate(layers) if kind == _FULL]
    period = full[1] if len(full) > 1 else len(layers)
    if full != list(range(0, len(layers), period)):
        raise _unsupported("an irregular order of layer_types", where)
    return period


def _rope(rope: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    if not set(rope) <= {_FULL, _SLIDING}:
        return _flat(rope, names, where)
    # One set for each kind of layer: 4.57 has another theta for the sliding ones, and never scales those.
    full = _flat(rope.get(_FULL) or {}, names, where)
    sliding = _flat(rope.get(_SLIDING) or {}, {}, where)
    if "sliding" not in names or set(sliding) - {"rope_theta"}:
        raise _unsupported("positions that differ by layer", where)
    if "rope_theta" in sliding:
        full[names["sliding"]] = sliding["rope_theta"]
    return full


def _flat(rope: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    if kind != "default" and kind not in _SCALING:
        raise _unsupported(f"the rope type '{kind}'", where)
    extra = {key: value for key, value in rope.items() if key not in _ROPE and value is not None}
    unread_names = sorted(set(extra) - {*_SCALING.get(kind, ()), "mrope_section", "mrope_interleaved"})
    if unread_names:
        raise _unsupported(f"'{unread_names[0]}' in its rope_parameters of type '{kind}'", where)
    settings = {
        names.get(key, key): rope[key] for key in ("rope_theta", "partial_rotary_factor") if rope.get(key) is not None
    }
    if kind != "default" or extra:
        settings["rope_scaling"] = {"rope_type": kind, **extra}
    if kind == "longrope" and "original_max_position_embeddings" in extra:
        settings["original_max_position_embeddings"] = extra["original_max_position_embeddings"]
    return settings


def unread(config: Any) -> tuple[str, ...]:
    """Return the mapped settings that the configuration's class does not read, so that they would have no effect."""
    try:
        defaults = type(config)()
    except (TypeError, ValueError, KeyError, AttributeError):  # a composite configuration has no default parts
        return ()
    watched = ("rope_theta", "rope_scaling", "partial_rotary_factor", "rope_local_base_freq", "rotary_emb_base")
    return tuple(name for name in watched if getattr(config, name, None) is not None and not hasattr(defaults, name))


def _unsupported(what: str, where: str) -> UsageError:
    return UsageError(
        f"{where} uses {what}, which transformers 4.57 does not support: the outputs would be wrong.",
        hint="pass the model as an ONNX file exported with transformers 5, or as package.module:factory",
    )
