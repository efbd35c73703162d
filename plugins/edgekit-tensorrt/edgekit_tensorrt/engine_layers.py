"""Read the layers of a built engine from the engine inspector's JSON: their kinds and the types they compute in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_tensorrt.layers import NODE, CompiledLayer, dtype_of

_TYPE = re.compile(r"\b(float|half|bfloat16|bf16|fp32|fp16|fp8|fp4|int4|int8|int32|int64|uint8|bool)\b", re.IGNORECASE)
"""A type in `Row major linear FP16 format` (10.3) or alone, as `Half` (later)."""

_SPELLINGS = {"fp32": "f32", "fp16": "f16"}


def read(text: str) -> tuple[CompiledLayer, ...]:
    """Read the output of `get_engine_information` or `trtexec --exportLayerInfo`.

    An engine that was built without detailed verbosity has only names: then the types are empty.
    """
    try:
        information = json.loads(text)
    except ValueError:
        return ()
    entries = information.get("Layers", ()) if isinstance(information, Mapping) else information
    return tuple(map(_layer, entries)) if isinstance(entries, Sequence) else ()


def _layer(entry: Any) -> CompiledLayer:
    if not isinstance(entry, Mapping):
        return CompiledLayer(str(entry), "unknown")
    weights = entry.get("Weights")
    constants = [dtype_in(weights.get("Type", ""))] if isinstance(weights, Mapping) and weights.get("Count", 1) else []
    constants += _dtypes(entry.get("Constants"))
    return CompiledLayer(
        name=str(entry.get("Name", "")),
        kind=str(entry.get("LayerType", "unknown")),
        inputs=tuple(_dtypes(entry.get("Inputs"))),
        constants=tuple(filter(None, constants)),
        outputs=tuple(_dtypes(entry.get("Outputs"))),
        nodes=tuple(dict.fromkeys(NODE.findall(str(entry.get("Metadata", ""))))),
    )


def _dtypes(tensors: Any) -> list[str]:
    if not isinstance(tensors, Sequence) or isinstance(tensors, str):
        return []
    dtypes = [dtype_in(str(tensor.get("Format/Datatype", ""))) for tensor in tensors if isinstance(tensor, Mapping)]
    return [dtype for dtype in dtypes if dtype]


def dtype_in(text: str) -> str:
    """Return our name of the type that a format's description mentions; empty when it mentions none."""
    match = _TYPE.search(text)
    if not match:
        return ""
    name = match[1].lower()
    return _SPELLINGS.get(name) or dtype_of(name)
