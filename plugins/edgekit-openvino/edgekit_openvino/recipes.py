"""Recipes for OpenVINO: int8 by NNCF, its own quantizer, with the settings that suit its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.plugin import USUAL, PassConfig, Recipe, Target

RECIPES = (
    Recipe(
        "int8-nncf",
        "int8 activations and weights by NNCF, OpenVINO's own quantizer; for OpenVINO only",
        (PassConfig("nncf"),),
        "i8",
    ),
    Recipe(
        "int8-nncf-bf16",
        "int8-nncf, with bf16 for the operators that stay in float",
        (PassConfig("cast", {"dtype": "bf16"}), PassConfig("nncf")),
        "i8+bf16",
    ),
)

DEFAULT_RECIPES = ("int8-nncf-bf16", "int8-nncf", *USUAL)


def nncf_defaults(target: Target) -> Mapping[str, Any]:
    """Return the device whose kernels the pass `nncf` quantizes for, and 7-bit weights where an x86 needs them."""
    device = str(target.options.get("openvino", {}).get("device", "CPU")).partition(".")[0]
    if device != "CPU":
        return {"device": device if device in ("GPU", "NPU") else "ANY", "reduce_range": False}
    return {"device": device, "reduce_range": target.device.saturates}
