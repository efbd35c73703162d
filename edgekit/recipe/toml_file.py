"""The user's own recipes, read from TOML files and written to them.

name = "int8-careful"
summary = "int8, the first convolution in float, outliers of the others left out"

[[passes]]
name = "quantize-static"
config = { method = "mse" }     # for all layers

[passes.operators.Conv]         # for every Conv; overrides `config`
method = "percentile"

[passes.nodes."/stem/conv"]     # for one node; overrides the settings of its type
float = true
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit import _toml
from edgekit.errors import UsageError
from edgekit.recipe.recipe import OVERRIDES, Recipe


def available() -> dict[str, Path]:
    """Return the TOML files in ./recipes, the user's own recipes, by name."""
    return {path.stem: path for path in sorted(Path("recipes").glob("*.toml"))}


def read(path: Path) -> Recipe:
    """Return the recipe of a file; its precision is empty where the file sets none. Raises UsageError for a bad
    file.
    """
    data = _toml.read(path, "recipe", hint="list recipes with `edgekit recipes`")
    if isinstance(data.get("passes"), list):
        data["passes"] = [_with_overrides(step, path) for step in data["passes"]]
    return Recipe.from_dict({"name": path.stem, "precision": "", **data}, str(path))


def to_toml(recipe: Recipe) -> str:
    """Return the text of a recipe file for `recipe`; the file's name will be the recipe's name."""
    lines = [f"summary = {_toml.value(recipe.summary)}", f"precision = {_toml.value(recipe.precision)}"]
    if recipe.parts_in_float:
        lines.append(f"parts_in_float = {_toml.value(list(recipe.parts_in_float))}")
    for step in recipe.passes:
        lines += ["", "[[passes]]", f"name = {_toml.value(step.name)}"]
        general = {key: value for key, value in step.config.items() if key != OVERRIDES}
        overrides = step.config.get(OVERRIDES) or {}
        tables = {
            "config": general,
            **{f"{kind}.{_toml.key(n)}": table for kind in overrides for n, table in overrides[kind].items()},
        }
        for table, values in tables.items():
            if values:
                lines += ["", f"[passes.{table}]"]
                lines += [f"{key} = {_toml.value(value)}" for key, value in sorted(values.items())]
    return "\n".join(lines) + "\n"


def _with_overrides(step: Any, path: Path) -> Any:
    """Return a pass's table with its settings for operator types and nodes moved into `config`, where the pass reads
    them.

    Raises UsageError for a setting that is outside of `config`.
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
    overrides = {kind: step[kind] for kind in ("operators", "nodes") if kind in step}
    rest = {key: value for key, value in step.items() if key not in overrides}
    return {**rest, "config": {**step.get("config", {}), OVERRIDES: overrides}} if overrides else rest
