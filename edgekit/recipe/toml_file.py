"""Recipes in TOML files, the user's own: read and written.

name = "int8-careful"
summary = "int8, the first convolution in float, outliers of the others left out"

[[passes]]
name = "quantize-static"
config = { method = "mse" }     # for all layers

[passes.operators.Conv]         # for all Conv, before what holds for all
method = "percentile"

[passes.nodes."/stem/conv"]     # for one node, before what holds for its type
float = true
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit import _toml
from edgekit.errors import UsageError
from edgekit.recipe.recipe import OVERRIDES, Recipe


def available() -> dict[str, Path]:
    """List the recipes of the user's own, the TOML files in ./recipes, by name."""
    return {path.stem: path for path in sorted(Path("recipes").glob("*.toml"))}


def read(path: Path) -> Recipe:
    """Read a recipe; its precision is empty where the file does not say it. Raises UsageError for a bad file."""
    data = _toml.read(path, "recipe", hint="list recipes with `edgekit recipes`")
    if isinstance(data.get("passes"), list):
        data["passes"] = [_lifted(step, path) for step in data["passes"]]
    return Recipe.from_dict({"name": path.stem, "precision": "", **data}, str(path))


def to_toml(recipe: Recipe) -> str:
    """Return the recipe file that repeats `recipe`; it has the name of the file it is written to."""
    lines = [f"summary = {_toml.value(recipe.summary)}", f"precision = {_toml.value(recipe.precision)}"]
    for step in recipe.passes:
        lines += ["", "[[passes]]", f"name = {_toml.value(step.name)}"]
        plain = {key: value for key, value in step.config.items() if key != OVERRIDES}
        over = step.config.get(OVERRIDES) or {}
        tables = {
            "config": plain,
            **{f"{kind}.{_toml.key(n)}": said for kind in over for n, said in over[kind].items()},
        }
        for table, values in tables.items():
            if values:
                lines += ["", f"[passes.{table}]"]
                lines += [f"{key} = {_toml.value(value)}" for key, value in sorted(values.items())]
    return "\n".join(lines) + "\n"


def _lifted(step: Any, path: Path) -> Any:
    """Move what a file says of operator types and nodes into the pass's config, where the pass finds it.

    Raises UsageError for a setting that stands beside `config`.
    """
    if not isinstance(step, dict) or not isinstance(step.get("config", {}), dict):
        return step
    known = ("name", "config", "operators", "nodes")
    for key in step if "name" in step else ():
        if key not in known:
            raise UsageError(
                f"{path}: the pass '{step['name']}' has the unknown key '{key}'.",
                hint=f"known keys: {', '.join(known)}; a setting of the pass goes into config = {{ {key} = ... }}",
            )
    over = {kind: step[kind] for kind in ("operators", "nodes") if kind in step}
    rest = {key: value for key, value in step.items() if key not in over}
    return {**rest, "config": {**step.get("config", {}), OVERRIDES: over}} if over else rest
