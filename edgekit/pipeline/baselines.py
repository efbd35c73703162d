"""What is tried beside what was asked for: what candidates must be faster than, and the fallback."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit import catalog
from edgekit.pipeline import pass_defaults, recipe_passes
from edgekit.recipe.builtin import QAT_RECIPE
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.target.target import Target

Pair = tuple[str, Recipe]
"""A backend's name, and a recipe that is resolved for it."""


def baselines(planned: Sequence[Pair], possible: Sequence[Pair], target: Target) -> list[Pair]:
    """Return full precision, where only lossy recipes are planned, and what a recipe that prunes gives without.

    `possible` are the planned ones with nothing in their way.
    """
    wanted: list[Pair] = []
    if all(recipe.passes for _, recipe in planned):
        wanted = [(backend, catalog.recipe("fp32")) for backend in dict.fromkeys(backend for backend, _ in possible)]
    wanted += [
        (backend, plain(recipe, recipe_passes.without_pruning(recipe), target, backend))
        for backend, recipe in possible
        if recipe_passes.prunes(recipe)
    ]
    there = [(backend, recipe.passes) for backend, recipe in planned]
    added = []
    for backend, unresolved in wanted:
        recipe = pass_defaults.resolve(unresolved, target, backend)
        if (backend, recipe.passes) not in there:
            there.append((backend, recipe.passes))
            added.append((backend, recipe))
    return added


def plain(recipe: Recipe, passes: tuple[PassConfig, ...], target: Target, backend: str | None = None) -> Recipe:
    """Return the recipe of `passes` alone, which `recipe` does among others: a known one where it is that."""
    for known in catalog.recipes(backend).values():
        if pass_defaults.resolve(known, target, backend).passes == passes:
            return known
    return Recipe(f"{recipe.name}-whole", f"{recipe.name} without its pruning", passes, recipe.precision)


def fallbacks(possible: Sequence[Pair], target: Target) -> list[Pair]:
    """Return int8 by training for the backends whose int8 candidates may all miss the gate."""
    int8 = [(backend, recipe) for backend, recipe in possible if recipe.precision.startswith("i8")]
    if any(recipe.name == QAT_RECIPE for _, recipe in int8):
        return []
    last = catalog.recipe(QAT_RECIPE)
    return [
        (backend, pass_defaults.resolve(last, target, backend))
        for backend in dict.fromkeys(backend for backend, _ in int8)
    ]
