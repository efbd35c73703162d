"""Recipes: a named, ordered list of passes with their config. Built-ins below, others in TOML files.

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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit import _toml
from edgekit._record import Record
from edgekit.errors import UsageError, nearest


@dataclass(frozen=True)
class PassConfig(Record):
    """Name a pass and the settings that differ from its defaults."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe(Record):
    """An ordered list of passes that follow the export to the model's graph."""

    name: str
    summary: str
    passes: tuple[PassConfig, ...] = ()
    precision: str = "f32"
    """The precision that the passes give; backends decide by it whether the target can run the recipe."""

    @property
    def needs_samples(self) -> bool:
        """Say whether a pass calibrates on data."""
        return any(step.name in ("quantize-static", "smooth", "nncf") for step in self.passes)

    @property
    def needs_training(self) -> bool:
        """Say whether a pass of ours trains."""
        return any(step.name in ("prune", "quantize-aware") for step in self.passes)


PRUNED = "pruned"
"""The recipe, and the beginning of the names of recipes, that prune before everything else: `pruned-int8-static`."""


def pruned(plain: Recipe) -> Recipe:
    """Give the recipe that prunes first and then does what `plain` does."""
    name = PRUNED if plain.name == "fp32" else f"{PRUNED}-{plain.name}"
    summary = f"a part of the work pruned away and recovered from on --train, then {plain.name}"
    return replace(plain, name=name, summary=summary, passes=(PassConfig("prune"), *plain.passes))


FLOAT8: dict[str, Any] = {
    "levels": "f8",
    "activations": "s8",
    "symmetric_activations": True,
    "quantize_bias": False,
    "quantize_outputs": False,
    "followers": [],
}
"""The settings of quantize-static that give 8-bit floats."""

BUILTIN = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", "the exported graph, every operator in fp32"),
        Recipe(
            "fp16",
            "fp16 weights and arithmetic; norms, softmax and reductions stay in fp32",
            (PassConfig("cast", {"dtype": "f16"}),),
            "f16",
        ),
        Recipe(
            "bf16",
            "fp32 weights, arithmetic in bf16 where the processor has it",
            (PassConfig("cast", {"dtype": "bf16"}),),
            "bf16",
        ),
        Recipe(
            "int8-static",
            "int8 activations and weights by calibration, Q/DQ form; MatMul, Gemm and Conv only",
            (PassConfig("quantize-static"),),
            "i8",
        ),
        *(
            Recipe(
                f"int8-{method}",
                f"int8-static, its ranges without outliers: {how}",
                (PassConfig("quantize-static", {"method": method}),),
                "i8",
            )
            for method, how in (
                ("percentile", "0.01 % of the values are left out at each end"),
                ("entropy", "those that keep most of the distribution (least Kullback-Leibler divergence)"),
                ("mse", "those that change the values least (mean squared error)"),
            )
        ),
        Recipe(
            "int8-static-bf16",
            "int8-static, and bf16 for the operators that stay in float",
            (PassConfig("quantize-static"), PassConfig("cast", {"dtype": "bf16"})),
            "i8+bf16",
        ),
        Recipe(
            "int8-fp16",
            "int8-static, and fp16 for the operators that stay in float; for GPUs",
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
        Recipe(
            "int8-qat",
            "int8-static after fine-tuning under its rounding, on the data of --train",
            (PassConfig("quantize-aware"), PassConfig("quantize-static")),
            "i8",
        ),
        Recipe(
            "int8-smooth",
            "int8-static for transformers: outliers of activations are moved into the weights first (SmoothQuant)",
            (PassConfig("smooth", {"alpha": "auto"}), PassConfig("quantize-static")),
            "i8",
        ),
        Recipe(
            "int8-dynamic",
            "int8 weights, activations quantized as the model runs; MatMul and Gemm only, so not for convolutions",
            (PassConfig("quantize-dynamic"),),
            "i8-dynamic",
        ),
        Recipe(
            "int8-weights",
            "weights and tables in int8, activations in float: small, and fast where products wait for memory",
            (PassConfig("weight-only"),),
            "i8-weights",
        ),
        Recipe(
            "int4-weights",
            "weights in int4, tables in int8, activations in float: for language models",
            (PassConfig("weight-only", {"bits": 4}),),
            "i4-weights",
        ),
        Recipe(
            "int8-nncf",
            "int8 activations and weights by NNCF, OpenVINO's own quantizer; for OpenVINO only",
            (PassConfig("nncf"),),
            "i8",
        ),
        Recipe(
            "int8-nncf-bf16",
            "int8-nncf, and bf16 for the operators that stay in float",
            (PassConfig("cast", {"dtype": "bf16"}), PassConfig("nncf")),
            "i8+bf16",
        ),
    )
}

BUILTIN |= {made.name: made for made in (pruned(BUILTIN[name]) for name in ("fp32", "int8-static", "int8-dynamic"))}


LAST_RESORT = "int8-qat"
"""What `--qat` tries where no int8 candidate passes the gate, not even repaired."""

USUAL = ("fp32", "fp16", "bf16", "int8-static", "int8-static-bf16", "int8-dynamic")
"""What is tried for a backend that the target names no candidates for; the others answer a question of the user's."""

OWN = {"openvino": ("int8-nncf-bf16", "int8-nncf")}
"""What is tried before those for one backend alone, as no other can take what the recipes give."""


def usual(backend: str) -> tuple[str, ...]:
    """Give the recipes that are tried for a backend that the target names no candidates for."""
    return (*OWN.get(backend, ()), *USUAL)


OVERRIDES = "overrides"
"""The key of a pass's config that holds what differs for operator types and nodes."""


def load(name: str) -> Recipe:
    """Give a built-in recipe by name, or read one from a TOML file, given by its path or by its name in ./recipes.

    Raises UsageError with the nearest names.
    """
    if name in BUILTIN:
        return BUILTIN[name]
    own = available()
    if name.startswith(PRUNED) and name not in own and not name.endswith(".toml"):
        plain = name.removeprefix(PRUNED).removeprefix("-") or "fp32"
        if plain in BUILTIN or plain in own:
            return pruned(load(plain))
    if not name.endswith(".toml") and name not in own:
        raise UsageError(
            f"there is no recipe '{name}'.{nearest(name, (*BUILTIN, *own))}",
            hint=f"built in: {', '.join(BUILTIN)}; or give the path of a .toml file",
        )
    path = own.get(name, Path(name))
    data = _toml.read(path, "recipe", hint="list recipes with `edgekit recipes`")
    if isinstance(data.get("passes"), list):
        data["passes"] = [_lifted(step, path) for step in data["passes"]]
    found = Recipe.from_dict({"name": path.stem, **data}, str(path))
    if found.name in BUILTIN:
        raise UsageError(f"{path}: the name '{found.name}' is a built-in recipe's.", hint="give it another name")
    return found if "precision" in data else replace(found, precision=_precision(found.passes))


def available() -> dict[str, Path]:
    """List the recipes of the user's own, the TOML files in ./recipes, by name."""
    return {path.stem: path for path in sorted(Path("recipes").glob("*.toml"))}


def to_toml(recipe: Recipe) -> str:
    """Give the recipe file that repeats `recipe`; it has the name of the file it is written to."""
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


def _precision(passes: tuple[PassConfig, ...]) -> str:
    """Give the precision that our own passes leave; a recipe with others should say its own."""
    gives = {"quantize-static": "i8", "quantize-dynamic": "i8-dynamic", "nncf": "i8"}

    def given(step: PassConfig) -> str:
        if step.name == "weight-only":
            return f"i{step.config.get('bits', 8)}-weights"
        if step.config.get("levels") == "f8":
            return "f8"
        return gives.get(step.name) or (step.config.get("dtype", "") if step.name == "cast" else "")

    found = sorted(filter(None, map(given, passes)), key=lambda one: one in ("f16", "bf16"))
    return "+".join(found) or "f32"
