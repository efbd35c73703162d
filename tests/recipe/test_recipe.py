"""Recipes: the built-in ones, and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.pipeline import pass_defaults, recipe_passes
from edgekit.recipe import recipe
from edgekit.recipe.recipe import BUILTIN, PassConfig, Recipe
from edgekit.target.target import Device, Target

AVX2 = Target("avx2", "t", device=Device(arch="x86_64", isa=("avx2",)))


def write(folder: Path, text: str, name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_built_ins_are_known_by_name_and_survive_json(name: str) -> None:
    found = recipe.load(name)
    assert found.name == name and found.summary
    assert Recipe.from_dict(found.to_dict()) == found
    assert recipe._precision(found.passes) == found.precision


def test_only_calibration_needs_samples() -> None:
    calibrated = {"int8-static", "int8-static-bf16", "int8-qat", "int8-percentile", "int8-entropy", "int8-mse"}
    calibrated |= {"int8-smooth", "pruned-int8-static"}
    calibrated |= {"int8-nncf", "int8-nncf-bf16", "int8-fp16", "fp8"}
    assert {name for name, found in BUILTIN.items() if found.needs_samples} == calibrated
    assert set(recipe.usual("openvino")) <= set(BUILTIN)
    assert set(recipe.usual("openvino")) - set(recipe.usual("onnxruntime")) == {"int8-nncf", "int8-nncf-bf16"}


def test_every_recipe_has_a_pruned_form() -> None:
    assert recipe.load("pruned").passes == (PassConfig("prune"),)
    mixed = recipe.load("pruned-int8-static-bf16")
    assert [step.name for step in mixed.passes] == ["prune", "quantize-static", "cast"]
    assert (mixed.name, mixed.precision, mixed.needs_training) == ("pruned-int8-static-bf16", "i8+bf16", True)
    assert {name for name, found in BUILTIN.items() if found.needs_training} == {
        name for name in BUILTIN if name.startswith("pruned") or name == "int8-qat"
    }
    with pytest.raises(UsageError, match=r"no recipe 'pruned-int8-stat'\. Did you mean 'pruned-int8-static'"):
        recipe.load("pruned-int8-stat")


def test_file_with_the_example_of_the_docstring(tmp_path: Path) -> None:
    example = (recipe.__doc__ or "").split("\n\n", 1)[1]
    found = recipe.load(write(tmp_path, example, "int8-careful"))
    assert found.name == "int8-careful"
    over = {"operators": {"Conv": {"method": "percentile"}}, "nodes": {"/stem/conv": {"float": True}}}
    assert found.passes == (PassConfig("quantize-static", {"method": "mse", "overrides": over}),)
    assert registry.pass_type("quantize-static").from_dict(found.passes[0].config)
    assert found.needs_samples
    assert found.precision == "i8", "read from its passes"


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_the_file_of_a_recipe_repeats_it(tmp_path: Path, name: str) -> None:
    made = Recipe(
        "mine", BUILTIN[name].summary, pass_defaults.resolve(BUILTIN[name], AVX2).passes, BUILTIN[name].precision
    )
    assert recipe.load(write(tmp_path, recipe.to_toml(made))) == made


def test_the_file_repeats_what_is_said_of_operators_and_nodes(tmp_path: Path) -> None:
    over = {
        "operators": {"Conv": {"method": "minmax"}, "MatMul": {"per_channel": False}},
        "nodes": {'/head/"odd" \\ né.0/MatMul': {"float": True}, "plain": {"percentile": 99.9, "method": "percentile"}},
    }
    config = {"exclude": ["/head/Gemm"], "method": "entropy", "overrides": over}
    made = Recipe(
        "mine", "m", (PassConfig("quantize-static", config), PassConfig("cast", {"dtype": "bf16"})), "i8+bf16"
    )
    text = recipe.to_toml(made)
    assert "[passes.operators.Conv]" in text and "[passes.nodes.plain]" in text
    assert recipe.load(write(tmp_path, text)) == made
    assert registry.pass_type("quantize-static").from_dict(made.passes[0].config)


def test_a_pass_that_takes_no_overrides_says_so(tmp_path: Path) -> None:
    text = 'summary = "s"\n[[passes]]\nname = "smooth"\n[passes.operators.MatMul]\nfloat = true\n'
    made = recipe.load(write(tmp_path, text))
    with pytest.raises(UsageError, match="recipe 'mine', pass 'smooth': it takes no settings for operators or nodes"):
        recipe_passes.through(made, "onnx")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "[passes.operators.Cnov]\nfloat = true",
            r"\[passes.operators.Cnov\]: it changes no Cnov. Did you mean 'Conv'",
        ),
        (
            "[passes.operators.Conv]\nflaot = true",
            r"overrides: operators.Conv: unknown key 'flaot'. Did you mean 'float'",
        ),
        ("[passes.nodes.head]\nmethod = 'maxmin'", r"nodes.head: method: 'maxmin' is not one of"),
        ("[passes.nodes.head]\npercentile = 3", "percentile must be above 50"),
        ("[passes.nodes]\nhead = 3", "nodes.head: expected a table, found 3"),
    ],
)
def test_faults_in_overrides_are_named(tmp_path: Path, table: str, message: str) -> None:
    made = recipe.load(write(tmp_path, f'summary = "s"\n[[passes]]\nname = "quantize-static"\n{table}\n'))
    with pytest.raises(UsageError, match=message):
        registry.pass_type("quantize-static").from_dict(made.passes[0].config)


@pytest.mark.parametrize(
    ("passes", "precision"),
    [
        ("[]", "f32"),
        ('[{ name = "cast", config = { dtype = "f16" } }]', "f16"),
        ('[{ name = "quantize-static" }, { name = "cast", config = { dtype = "bf16" } }]', "i8+bf16"),
        ('[{ name = "quantize-dynamic" }]', "i8-dynamic"),
    ],
)
def test_precision_follows_from_the_passes_unless_stated(tmp_path: Path, passes: str, precision: str) -> None:
    text = f'summary = "s"\npasses = {passes}\n'
    assert recipe.load(write(tmp_path, text)).precision == precision
    assert recipe.load(write(tmp_path, text + 'precision = "f8"\n')).precision == "f8"
    assert recipe.load(write(tmp_path, text)).name == "mine", "the file's name, where it says none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('summary = "s"\npasess = []', r"unknown key 'pasess'\. Did you mean 'passes'"),
        ('summary = "s"\npasses = [{ nam = "cast" }]', r"passes\[0\]: unknown key 'nam'"),
        ('summary = "s"\npasses = [{ name = "prune", ratio = 0.5 }]', "the pass 'prune' has the unknown key 'ratio'"),
        ("passes = []", "the key 'summary' is missing"),
        ('name = "fp16"\nsummary = "s"', "the name 'fp16' is a built-in recipe's"),
        ("summary =", "is not valid TOML"),
    ],
)
def test_faults_in_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        recipe.load(write(tmp_path, text))
    assert "mine.toml" in caught.value.message


def test_unknown_recipe_names_the_nearest_and_the_known() -> None:
    with pytest.raises(UsageError, match=r"no recipe 'int8'\. Did you mean 'int8-") as caught:
        recipe.load("int8")
    for name in BUILTIN:
        assert name in (caught.value.hint or "")


def test_missing_file() -> None:
    with pytest.raises(UsageError, match=r"cannot read the recipe 'none\.toml'"):
        recipe.load("none.toml")
