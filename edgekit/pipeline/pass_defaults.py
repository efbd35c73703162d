"""The settings of passes that the target and its backend decide, so that a recipe is fast and exact there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit import catalog
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.target.target import Target

WIDTH = 8
"""Channels that a processor takes at once: a vector of AVX2, two of NEON. AVX-512 takes 16, of which 8 fill a half: in
multiples of 16 narrow layers would have nothing left to prune."""

PRUNE = "prune"


def resolve(recipe: Recipe, target: Target, backend: str | None = None, *, prune: float | None = None) -> Recipe:
    """Fill in what a recipe does not say: what the backend decides, else what is right for the target's processor.

    `prune` is the share of the work to remove.
    """
    passes = []
    for step in recipe.passes:
        decided = catalog.pass_defaults(backend, step.name, target) if backend else {}
        asked = {"ratio": prune} if step.name == PRUNE and prune is not None else {}
        passes.append(PassConfig(step.name, {**of_processor(step.name, target), **decided, **asked, **step.config}))
    return Recipe(recipe.name, recipe.summary, tuple(passes), recipe.precision)


def of_processor(pass_name: str, target: Target) -> Mapping[str, Any]:
    """Return the settings of edgekit's own passes that are fast and exact on the target's processor.

    x86 multiplies u8 by s8, with 7-bit weights (`reduce_range`) where sums saturate; ARM's dot product takes s8 by s8.
    """
    activations = {"activations": "s8" if target.device.arch == "aarch64" else "u8"}
    weights = {"reduce_range": target.device.saturates}
    decided: Mapping[str, Mapping[str, Any]] = {
        "quantize-static": {**activations, **weights},
        "quantize-aware": {**activations, **weights},
        "quantize-dynamic": weights,
        "smooth": weights,
        PRUNE: {"round_to": WIDTH},
    }
    return decided.get(pass_name, {})
