"""Recipes of ONNX Runtime: packed weights with exact activations, and language models for onnxruntime-genai."""

from __future__ import annotations

from edgekit.plugin import USUAL, PassConfig, Recipe

RECIPES = (
    Recipe(
        "int4-weights-exact",
        "int4-weights with activations in float: slower, for models with outlier channels",
        (PassConfig("weight-only", {"bits": 4, "exact": True}),),
        "i4-weights",
    ),
    Recipe(
        "genai-fp32",
        "a language model for onnxruntime-genai's engine, in fp32",
        (PassConfig("genai", {"weights": "fp32"}),),
    ),
    Recipe(
        "genai-int8",
        "a language model for onnxruntime-genai's engine, weights in int8, activations rounded to int8 in blocks",
        (PassConfig("genai", {"weights": "int8"}),),
        "i8-weights",
    ),
    Recipe(
        "genai-int4",
        "a language model for onnxruntime-genai's engine, weights in int4, activations rounded to int8 in blocks",
        (PassConfig("genai", {"weights": "int4"}),),
        "i4-weights",
    ),
    Recipe(
        "genai-int4-exact",
        "genai-int4 with activations in float: slower, for models with outlier channels",
        (PassConfig("genai", {"weights": "int4", "exact": True}),),
        "i4-weights",
    ),
)

DEFAULT_RECIPES = USUAL
"""Those for language models are tried on request, as most models are others."""
