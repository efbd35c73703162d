"""Recipes for TensorRT, and the settings of passes whose results it builds and runs fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.plugin import PassConfig, Recipe

FLOAT8: dict[str, Any] = {
    "levels": "f8",
    "activations": "s8",
    "symmetric_activations": True,
    "quantize_bias": False,
    "quantize_outputs": False,
    "followers": [],
}
"""The settings of quantize-static for 8-bit floats."""

RECIPES = (
    Recipe(
        "int8-fp16",
        "int8-static, with fp16 for the operators that stay in float; for GPUs",
        (PassConfig("quantize-static"), PassConfig("cast", {"dtype": "f16"})),
        "i8+f16",
    ),
    Recipe(
        "fp8",
        "8-bit floats (E4M3) by calibration, fp16 for the rest; for NVIDIA GPUs from SM 8.9 on",
        (PassConfig("quantize-static", FLOAT8), PassConfig("cast", {"dtype": "f16"})),
        "f8+f16",
    ),
    Recipe(
        "int4-fp16",
        "weights in int4, the rest in fp16: for language models on NVIDIA GPUs",
        (PassConfig("weight-only", {"bits": 4}), PassConfig("cast", {"dtype": "f16"})),
        "i4-weights+f16",
    ),
)

PASS_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "quantize-static": {
        "activations": "s8",
        "reduce_range": False,
        "symmetric_activations": True,
        "quantize_bias": False,
        "quantize_outputs": False,
        "followers": ["MaxPool"],
    },
    "quantize-aware": {"activations": "s8", "reduce_range": False, "symmetric_activations": True},
    "quantize-dynamic": {"reduce_range": False},
    "smooth": {"reduce_range": False},
    "weight-only": {"block": 128, "embeddings": False},
    "prune": {"round_to": 32},
}
"""TensorRT rejects zero points other than 0, int32 biases, and embeddings whose scales are looked up; its int4 kernels
support blocks of 64 or 128. It fuses Relu and sums into the convolution before them where no Q/DQ pair is between.
32 channels fill one load of an int8 tensor core (the kCHW32 format); fp16 needs 16."""
