"""Read the layers of a built engine off the engine inspector's JSON: their kinds and the types that they compute in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.plugin import Precision
from edgekit_tensorrt.layers import NODE, CompiledLayer, precision, type_of

_TYPE = re.compile(r"\b(float|half|bfloat16|bf16|fp32|fp16|fp8|fp4|int4|int8|int32|int64|uint8|bool)\b", re.IGNORECASE)
"""A type within `Row major linear FP16 format` (10.3) or alone, as `Half` (later)."""

_SPELLINGS = {"fp32": "f32", "fp16": "f16"}


def read(text: str) -> tuple[CompiledLayer, ...]:
    """Read what `get_engine_information` or `trtexec --exportLayerInfo` gave.

    An engine that was built without detailed verbosity has names alone: then the types are empty.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    listed = found.get("Layers", ()) if isinstance(found, Mapping) else found
    return tuple(_layer(one) for one in listed) if isinstance(listed, Sequence) else ()


def effective(layers: Sequence[CompiledLayer]) -> Precision | None:
    """Return the type in which most of the arithmetic runs; None when the engine does not report it."""
    return precision(layers)


def _layer(one: Any) -> CompiledLayer:
    if not isinstance(one, Mapping):
        return CompiledLayer(str(one), "unknown")
    weights = one.get("Weights")
    constants = [type_in(weights.get("Type", ""))] if isinstance(weights, Mapping) and weights.get("Count", 1) else []
    constants += _types(one.get("Constants"))
    return CompiledLayer(
        name=str(one.get("Name", "")),
        kind=str(one.get("LayerType", "unknown")),
        inputs=tuple(_types(one.get("Inputs"))),
        constants=tuple(filter(None, constants)),
        outputs=tuple(_types(one.get("Outputs"))),
        nodes=tuple(dict.fromkeys(NODE.findall(str(one.get("Metadata", ""))))),
    )


def _types(tensors: Any) -> list[str]:
    if not isinstance(tensors, Sequence) or isinstance(tensors, str):
        return []
    types = [type_in(str(one.get("Format/Datatype", ""))) for one in tensors if isinstance(one, Mapping)]
    return [one for one in types if one]


def type_in(text: str) -> str:
    """Return our word for the type that a format's description names; empty when it names none."""
    found = _TYPE.search(text)
    if not found:
        return ""
    word = found[1].lower()
    return _SPELLINGS.get(word) or type_of(word)
