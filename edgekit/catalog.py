"""Recipes, variants of targets and runtimes: those that are built in, and those that the installed backends bring.

A backend that does not import is left out of these lists; its error is raised where the backend is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import EnvironmentFault, UsageError, nearest
from edgekit.plugin import Backend, WithPassDefaults, WithPrecision, WithRecipes, WithRuntime, WithVariants
from edgekit.recipe import toml_file
from edgekit.recipe.builtin import BUILTIN, USUAL
from edgekit.recipe.recipe import PRUNED, Recipe, pruned
from edgekit.runtime import Runtime
from edgekit.target import search_path
from edgekit.target import target as targets
from edgekit.target.target import Target

Owned = tuple[str | None, Recipe]
"""A recipe and the backend that brings it; None for a built-in one."""

ALIASES = {
    "int8": "int8-static",
    "quantize": "int8-static",
    "quantized": "int8-static",
    "ptq": "int8-static",
    "w8a8": "int8-static",
    "half": "fp16",
    "f16": "fp16",
    "float16": "fp16",
    "f32": "fp32",
    "float32": "fp32",
    "full": "fp32",
    "none": "fp32",
    "bfloat16": "bf16",
    "w8a16": "int8-weights",
    "w4a16": "int4-weights",
    "gptq": "int4-weights",
    "awq": "int4-weights",
    "smoothquant": "int8-smooth",
    "prune": "pruned",
}
"""Other names of recipes."""


def recipe(name: str) -> Recipe:
    """Return the recipe `name`: a built-in one, one of an installed backend, or a TOML file, by its path or by its name
    in ./recipes.

    Raises UsageError with the nearest names, EnvironmentFault for a name that two claim or whose plugin is missing.
    """
    owners = _recipes().get(name, ())
    if len(owners) > 1:
        raise _claimed_twice(name, [owner for owner, _ in owners])
    if owners:
        return owners[0][1]
    files = toml_file.available()
    if name in files or name.endswith(".toml"):
        return _from_file(files.get(name, Path(name)))
    plain = name.removeprefix(PRUNED).removeprefix("-") or "fp32"
    if name.startswith(PRUNED) and (plain in _recipes() or plain in files):
        return pruned(recipe(plain))
    if name in registry.KNOWN_RECIPES:
        raise registry.comes_with("recipe", name, registry.KNOWN_RECIPES[name])
    known = (*_recipes(), *files)
    broken = [each for each in registry.names("backend") if _backend(each) is None]
    raise UsageError(
        f"unknown recipe '{name}'.{nearest(name, known, ALIASES)}",
        hint=f"known here: {', '.join(known)}; or give the path of a .toml file"
        + (f"; those of {' and '.join(broken)} are left out (see `edgekit plugins`)" if broken else ""),
    )


def recipes(of: str | None = None) -> dict[str, Recipe]:
    """Return the built-in recipes and those of the installed backends (of the backend `of` alone, where given), by
    name.

    Recipes that cannot be used are left out: those of a backend that does not import, and names that are claimed twice.
    """
    table = {name: owners[0] for name, owners in _recipes().items() if len(owners) == 1}
    return {name: owned for name, (owner, owned) in table.items() if of is None or owner in (of, None)}


def default_recipes(of: str) -> tuple[str, ...]:
    """Return the names of the recipes that are tried for a backend where the target's file names none."""
    plugin = _backend(of)
    return tuple(plugin.default_recipes) if isinstance(plugin, WithRecipes) else USUAL


def pass_defaults(of: str, pass_name: str, target: Target) -> Mapping[str, Any]:
    """Return the settings of a pass that a backend decides for a target; none where it decides none, or is missing."""
    plugin = _backend(of)
    return plugin.pass_defaults(pass_name, target) if isinstance(plugin, WithPassDefaults) else {}


def target(name: str) -> Target:
    """Return a target by its name or path; a name such as `nvidia-gpu:8.9` names a variant, which a backend of the
    target resolves.

    Raises UsageError for an unknown target or variant, EnvironmentFault where the backend that would resolve the
    variant is missing.
    """
    plain, colon, variant = name.partition(":")
    if not colon or search_path.is_path(name):
        return targets.load(name)
    whole = targets.load(plain)
    for each in whole.backends:
        plugin = _backend(each)
        if isinstance(plugin, WithVariants):
            return plugin.variant(whole, variant)
    for each in whole.backends:
        registry.backend(each)  # raises for one that is missing: it may be the one that has variants
    raise UsageError(
        f"the target '{plain}' has no variants: none of its backends ({', '.join(whole.backends)}) accepts "
        f"':{variant}'.",
        hint=f"--target {plain}",
    )


def runtime(of: str) -> Runtime:
    """Return a backend's description of its runtime; an empty one where it has none or is missing. Loads no runtime."""
    plugin = _backend(of)
    return plugin.runtime if isinstance(plugin, WithRuntime) else Runtime()


def runtimes() -> dict[str, Runtime]:
    """Return the runtimes of the installed backends, by the backend's name; no runtime is loaded."""
    plugins: dict[str, object] = {name: _backend(name) for name in registry.names("backend")}
    return {name: plugin.runtime for name, plugin in plugins.items() if isinstance(plugin, WithRuntime)}


def _backend(name: str) -> Backend | None:
    """Return a backend; None where it is missing or broken. Raises UsageError for an unknown one."""
    try:
        return registry.backend(name)
    except EnvironmentFault:
        return None


def _recipes() -> dict[str, tuple[Owned, ...]]:
    """Return each recipe with its owner, by name; a name that is claimed twice has several."""
    table: dict[str, tuple[Owned, ...]] = {name: ((None, builtin),) for name, builtin in BUILTIN.items()}
    for name in registry.names("backend"):
        plugin = _backend(name)
        if isinstance(plugin, WithRecipes):
            for each in plugin.recipes:
                table[each.name] = (*table.get(each.name, ()), (name, each))
    return table


def _claimed_twice(name: str, owners: list[str | None]) -> EnvironmentFault:
    packages = [registry.distribution("backend", owner) for owner in owners if owner is not None]
    who = " and ".join((*(["edgekit"] if None in owners else []), *packages))
    uninstall = " or ".join(f"pip uninstall {package.split()[0]}" for package in dict.fromkeys(packages))
    return EnvironmentFault(
        f"the recipe '{name}' is claimed twice: by {who}.", hint=f"uninstall what you do not need: {uninstall}"
    )


def _from_file(path: Path) -> Recipe:
    """Return the recipe of a file; where the file sets no precision, that of its passes is used."""
    recipe = toml_file.read(path)
    if recipe.name in _recipes() or recipe.name in registry.KNOWN_RECIPES:
        raise UsageError(f"{path}: '{recipe.name}' is the name of a built-in recipe.", hint="give it another name")
    if recipe.precision:
        return recipe
    precisions = []
    for step in recipe.passes:
        with contextlib.suppress(EnvironmentFault):  # planning reports which pass is missing
            configured = registry.configured(step, recipe.name)
            precisions += [configured.precision] if isinstance(configured, WithPrecision) else []
    precisions.sort(key=lambda precision: precision in ("f16", "bf16"))
    return replace(recipe, precision="+".join(filter(None, precisions)) or "f32")
