"""The flavour of a recipe: the settings that the target and its backend decide, so that it is fast and exact there."""

from __future__ import annotations

from typing import Any

from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.target import host
from edgekit.target.target import Target

PROCESSOR_WIDTH = 8
"""Channels that a processor takes at once: a vector of AVX2, two of NEON. AVX-512 takes 16, of which 8 fill a half: in
multiples of 16 narrow layers would have nothing left to prune."""

NVIDIA_WIDTH = 32
"""Channels that fill an int8 tensor core's load (TensorRT's kCHW32 format); fp16 takes 16."""

_DECIDED = {
    "quantize-static": (
        "activations",
        "reduce_range",
        "symmetric_activations",
        "quantize_bias",
        "quantize_outputs",
        "followers",
    ),
    "quantize-aware": ("activations", "reduce_range", "symmetric_activations"),
    "quantize-dynamic": ("reduce_range",),
    "smooth": ("reduce_range",),
    "weight-only": ("block", "embeddings"),
    "nncf": ("device", "reduce_range"),
}
"""The settings of a pass that are the flavour's."""


def resolve(recipe: Recipe, target: Target, backend: str | None = None, *, prune: float | None = None) -> Recipe:
    """Fill in what the target and its backend decide: the flavour of int8 that is fast and exact there, and the widths
    that its kernels take whole. `prune` is the share of the work to remove where the recipe does not say it.
    """
    passes = []
    for step in recipe.passes:
        flavours = _of_nncf(target) if step.name == "nncf" else _of_int8(target, backend)
        flavour = {key: value for key, value in flavours.items() if key in _DECIDED.get(step.name, ())}
        if step.name == "prune":
            flavour = {"round_to": NVIDIA_WIDTH if backend == "tensorrt" else PROCESSOR_WIDTH}
            flavour |= {} if prune is None else {"ratio": prune}
        passes.append(PassConfig(step.name, {**flavour, **step.config}))
    return Recipe(recipe.name, recipe.summary, tuple(passes), recipe.precision)


def _of_int8(target: Target, backend: str | None) -> dict[str, Any]:
    """Give the settings of quantize-static.

    x86 multiplies u8 by s8; without VNNI or AMX the 16-bit sum of two products saturates, so weights get 7 bits
    (`reduce_range`). ARM's dot product takes s8 by s8. TensorRT refuses zero points other than 0, int32 biases, and
    scales that are looked up beside a table; its int4 kernels take blocks of 64 or 128. It fuses Relu and sums into the
    convolution before them where no pair stands between.
    """
    if backend == "tensorrt":
        return {
            "activations": "s8",
            "reduce_range": False,
            "symmetric_activations": True,
            "quantize_bias": False,
            "quantize_outputs": False,
            "followers": ["MaxPool"],
            "block": 128,
            "embeddings": False,
        }
    isa = set(target.device.isa)
    arm = target.device.arch == "aarch64"
    return {
        "activations": "s8" if arm else "u8",
        "reduce_range": not arm and not isa & set(host.WIDE_SUMS),
    }


def _of_nncf(target: Target) -> dict[str, Any]:
    """Give the settings of nncf: whose kernels it quantizes for, and 7-bit weights where an x86 needs them."""
    device = str(target.options.get("openvino", {}).get("device", "CPU")).partition(".")[0]
    if device != "CPU":
        return {"device": device if device in ("GPU", "NPU") else "ANY", "reduce_range": False}
    return {"device": device, "reduce_range": _of_int8(target, "openvino")["reduce_range"]}
