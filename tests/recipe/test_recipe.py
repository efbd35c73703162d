"""Recipes: the built-in ones, and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import catalog, registry
from edgekit.errors import EnvironmentFault, UsageError
from edgekit.pipeline import pass_defaults, recipe_passes
from edgekit.recipe import toml_file
from edgekit.recipe.builtin import BUILTIN, USUAL
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.target.target import Device, Target
from edgekit.testing import install, installed
from tests.wording import Fact, raises

AVX2 = Target("avx2", "t", device=Device(arch="x86_64", isa=("avx2",)))


def write(folder: Path, text: str, name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(catalog.recipes()))
def test_recipes_are_found_by_name_and_survive_json(name: str, tmp_path: Path) -> None:
    recipe = catalog.recipe(name)
    assert recipe.name == name and recipe.summary
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    without = toml_file.to_toml(recipe).replace(f'precision = "{recipe.precision}"\n', "")
    assert catalog.recipe(write(tmp_path, without)).precision == recipe.precision, "what its passes leave"


def test_only_calibration_needs_samples() -> None:
    calibrated = {"int8-static", "int8-static-bf16", "int8-qat", "int8-percentile", "int8-entropy", "int8-mse"}
    calibrated |= {"int8-smooth", "pruned-int8-static"}
    calibrated |= {"int8-nncf", "int8-nncf-bf16", "int8-fp16", "fp8"}
    assert {name for name, recipe in catalog.recipes().items() if recipe_passes.needs_samples(recipe)} == calibrated


def test_a_backend_brings_recipes_and_lists_those_to_try() -> None:
    own = {"int8-nncf", "int8-nncf-bf16"}
    generating = {"genai-fp32", "genai-int8", "genai-int4", "genai-int4-exact"}
    generating |= {"int4-weights-exact"}
    assert set(catalog.recipes()) - set(BUILTIN) == {*own, *generating, "int8-fp16", "fp8", "int4-fp16"}
    assert set(catalog.recipes("openvino")) - set(BUILTIN) == own
    assert set(catalog.recipes("onnxruntime")) - set(BUILTIN) == generating
    assert catalog.default_recipes("openvino") == ("int8-nncf-bf16", "int8-nncf", *USUAL)
    assert catalog.default_recipes("onnxruntime") == USUAL


BACKEND = """
from dataclasses import dataclass
from edgekit.plugin import API, PassConfig, Recipe, Record

class Npu:
    api, name, summary, accepts = API, "npu", "a made-up NPU", frozenset({"onnx"})
    recipes = (Recipe(RECIPE, "its own", (PassConfig("quantize-dynamic"),), "i8-dynamic"),)
    default_recipes = (RECIPE,)

    @dataclass(frozen=True)
    class options(Record):
        pass

    def probe(self): ...
    def supports(self, model, target): ...
    def build(self, model, target, options, workdir): ...
    def open(self, payload): ...
"""


def npu(folder: Path, recipe: str, code: str = BACKEND) -> Path:
    files = {"edgekit_npu.py": code.replace("RECIPE", repr(recipe))}
    return install(folder, "edgekit-npu", {"edgekit.backends": {"npu": "edgekit_npu:Npu"}}, files)


def test_a_third_party_brings_a_recipe(tmp_path: Path) -> None:
    with installed(npu(tmp_path, "int8-npu")):
        assert catalog.recipe("int8-npu").summary == "its own"
        assert catalog.recipe("pruned-int8-npu").passes[0] == PassConfig("prune")
        assert "int8-npu" in catalog.recipes("npu") and "int8-npu" not in catalog.recipes("openvino")
        with raises(UsageError, "mine.toml", "'int8-npu'"):
            catalog.recipe(write(tmp_path, 'name = "int8-npu"\nsummary = "s"\n'))
    with raises(UsageError, "'int8-npu'"):
        catalog.recipe("int8-npu")


@pytest.mark.parametrize(
    ("name", "owners"),
    [("fp32", ("edgekit", "edgekit-npu 1.0")), ("int8-nncf", ("edgekit-npu 1.0", "edgekit-openvino"))],
)
def test_a_name_that_two_claim_is_an_error_where_it_is_used(tmp_path: Path, name: str, owners: Fact) -> None:
    with installed(npu(tmp_path, name)):
        assert name not in catalog.recipes()
        with raises(EnvironmentFault, f"'{name}'", owners, hint="pip uninstall edgekit-npu"):
            catalog.recipe(name)
        assert catalog.recipe("int8-static").name == "int8-static"


def test_recipes_of_a_broken_backend_are_left_out_with_a_note(tmp_path: Path) -> None:
    with installed(npu(tmp_path, "int8-npu", "import no_such_runtime\n" + BACKEND)):
        assert set(BUILTIN) <= set(catalog.recipes())
        with raises(UsageError, "'int8-npu'", hint="npu"):
            catalog.recipe("int8-npu")


def test_every_recipe_has_a_pruned_form() -> None:
    assert catalog.recipe("pruned").passes == (PassConfig("prune"),)
    mixed = catalog.recipe("pruned-int8-static-bf16")
    assert [step.name for step in mixed.passes] == ["prune", "quantize-static", "cast"]
    assert (mixed.name, mixed.precision) == ("pruned-int8-static-bf16", "i8+bf16")
    assert recipe_passes.needs_training(mixed)
    assert {name for name, recipe in catalog.recipes().items() if recipe_passes.needs_training(recipe)} == {
        name for name in BUILTIN if name.startswith("pruned") or name == "int8-qat"
    }
    with raises(UsageError, ("'pruned-int8-stat'", "'pruned-int8-static'")):
        catalog.recipe("pruned-int8-stat")


def test_file_with_the_example_of_the_docstring(tmp_path: Path) -> None:
    example = (toml_file.__doc__ or "").split("\n\n", 1)[1]
    recipe = catalog.recipe(write(tmp_path, example, "int8-careful"))
    assert recipe.name == "int8-careful"
    over = {"operators": {"Conv": {"method": "percentile"}}, "nodes": {"/stem/conv": {"float": True}}}
    assert recipe.passes == (PassConfig("quantize-static", {"method": "mse", "overrides": over}),)
    assert registry.pass_type("quantize-static").from_dict(recipe.passes[0].config)
    assert recipe_passes.needs_samples(recipe)
    assert recipe.precision == "i8", "read from its passes"


@pytest.mark.parametrize("name", sorted(catalog.recipes()))
def test_the_file_of_a_recipe_repeats_it(tmp_path: Path, name: str) -> None:
    plain = catalog.recipe(name)
    recipe = Recipe("mine", plain.summary, pass_defaults.resolve(plain, AVX2).passes, plain.precision)
    assert catalog.recipe(write(tmp_path, toml_file.to_toml(recipe))) == recipe


def test_the_file_repeats_the_settings_of_operators_and_nodes(tmp_path: Path) -> None:
    over = {
        "operators": {"Conv": {"method": "minmax"}, "MatMul": {"per_channel": False}},
        "nodes": {'/head/"odd" \\ né.0/MatMul': {"float": True}, "plain": {"percentile": 99.9, "method": "percentile"}},
    }
    config = {"exclude": ["/head/Gemm"], "method": "entropy", "overrides": over}
    recipe = Recipe(
        "mine", "m", (PassConfig("quantize-static", config), PassConfig("cast", {"dtype": "bf16"})), "i8+bf16"
    )
    text = toml_file.to_toml(recipe)
    assert "[passes.operators.Conv]" in text and "[passes.nodes.plain]" in text
    assert catalog.recipe(write(tmp_path, text)) == recipe
    assert registry.pass_type("quantize-static").from_dict(recipe.passes[0].config)


def test_a_pass_without_overrides_refuses_them(tmp_path: Path) -> None:
    text = 'summary = "s"\n[[passes]]\nname = "smooth"\n[passes.operators.MatMul]\nfloat = true\n'
    stated = catalog.recipe(write(tmp_path, 'precision = "f32"\n' + text))
    for use in (lambda: recipe_passes.formats(stated, "onnx"), lambda: catalog.recipe(write(tmp_path, text))):
        with raises(UsageError, "recipe 'mine'", "pass 'smooth'", hint="[passes.operators...]"):
            use()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "[passes.operators.Cnov]\nfloat = true",
            ("[passes.operators.Cnov]", "'Conv'"),
        ),
        (
            "[passes.operators.Conv]\nflaot = true",
            ("overrides: operators.Conv", "'flaot'", "'float'"),
        ),
        ("[passes.nodes.head]\nmethod = 'maxmin'", ("nodes.head", "method", "'maxmin'", "entropy")),
        ("[passes.nodes.head]\npercentile = 3", ("nodes.head", "percentile", "50", "100", "3.0")),
        ("[passes.nodes]\nhead = 3", ("nodes.head", "3")),
    ],
)
def test_faults_in_overrides_are_named(tmp_path: Path, table: str, message: str) -> None:
    stated = f'summary = "s"\nprecision = "i8"\n[[passes]]\nname = "quantize-static"\n{table}\n'
    recipe = catalog.recipe(write(tmp_path, stated))
    with raises(UsageError, message):
        registry.pass_type("quantize-static").from_dict(recipe.passes[0].config)
    with raises(UsageError, message):
        catalog.recipe(write(tmp_path, stated.replace('precision = "i8"\n', "")))


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
    assert catalog.recipe(write(tmp_path, text)).precision == precision
    assert catalog.recipe(write(tmp_path, text + 'precision = "f8"\n')).precision == "f8"
    assert catalog.recipe(write(tmp_path, text)).name == "mine", "the file's name, where it says none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('summary = "s"\npasess = []', ("'pasess'", "'passes'")),
        ('summary = "s"\npasses = [{ nam = "cast" }]', ("passes[0]", "'nam'", "'name'")),
        ('summary = "s"\npasses = [{ name = "prune", ratio = 0.5 }]', ["'prune'", "'ratio'"]),
        ("passes = []", "'summary'"),
        ('name = "fp16"\nsummary = "s"', "'fp16'"),
        ("summary =", "TOML"),
    ],
)
def test_faults_in_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    with raises(UsageError, message) as caught:
        catalog.recipe(write(tmp_path, text))
    assert "mine.toml" in caught.value.message


def test_unknown_recipe_names_the_nearest_and_the_known() -> None:
    with raises(UsageError, ("'int8'", "'int8-")) as caught:
        catalog.recipe("int8")
    for name in catalog.recipes():
        assert name in (caught.value.hint or "")


def test_missing_file() -> None:
    with raises(UsageError, "'none.toml'", hint="edgekit recipes"):
        catalog.recipe("none.toml")
