"""What is tried beside what was asked for: what candidates must be faster than, and the last resort."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit import catalog
from edgekit.pipeline import pass_defaults, recipe_passes
from edgekit.recipe.builtin import LAST_RESORT
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.target.target import Target

Pair = tuple[str, Recipe]
"""A backend's name, and a recipe that is resolved for it."""


def baselines(planned: Sequence[Pair], possible: Sequence[Pair], goal: Target) -> list[Pair]:
    """Give full precision, where only lossy recipes are planned, and what a recipe that prunes gives without.

    `possible` are the planned ones with nothing in their way.
    """
    wanted: list[Pair] = []
    if all(made.passes for _, made in planned):
        wanted = [(backend, catalog.recipe("fp32")) for backend in dict.fromkeys(backend for backend, _ in possible)]
    wanted += [
        (backend, plain(made, recipe_passes.without_pruning(made), goal, backend))
        for backend, made in possible
        if recipe_passes.prunes(made)
    ]
    there = [(backend, made.passes) for backend, made in planned]
    added = []
    for backend, found in wanted:
        made = pass_defaults.resolve(found, goal, backend)
        if (backend, made.passes) not in there:
            there.append((backend, made.passes))
            added.append((backend, made))
    return added


def plain(made: Recipe, passes: tuple[PassConfig, ...], target: Target, backend: str | None = None) -> Recipe:
    """Give the recipe of `passes` alone, which `made` does among others: a known one where it is that."""
    for known in catalog.recipes(backend).values():
        if pass_defaults.resolve(known, target, backend).passes == passes:
            return known
    return Recipe(f"{made.name}-whole", f"{made.name} without its pruning", passes, made.precision)


def fallbacks(possible: Sequence[Pair], goal: Target) -> list[Pair]:
    """Give int8 by training for the backends whose int8 candidates may all miss the gate."""
    int8 = [(backend, made) for backend, made in possible if made.precision.startswith("i8")]
    if any(made.name == LAST_RESORT for _, made in int8):
        return []
    last = catalog.recipe(LAST_RESORT)
    return [
        (backend, pass_defaults.resolve(last, goal, backend))
        for backend in dict.fromkeys(backend for backend, _ in int8)
    ]
