"""What the target and its backend decide of a recipe."""

from __future__ import annotations

import pytest

from edgekit import catalog, registry
from edgekit.pipeline import pass_defaults
from edgekit.recipe.builtin import BUILTIN
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.target.target import Device, Target

ARM = Target("arm", "t", device=Device(arch="aarch64", isa=("neon", "dotprod")))
VNNI = Target("vnni", "t", device=Device(arch="x86_64", isa=("avx2", "avx512_vnni")))
AVX2 = Target("avx2", "t", device=Device(arch="x86_64", isa=("avx2",)))


@pytest.mark.parametrize("name", sorted(catalog.recipes()))
@pytest.mark.parametrize("backend", registry.names("backend"))
@pytest.mark.parametrize("goal", [ARM, VNNI, AVX2], ids=lambda goal: goal.name)
def test_passes_take_the_config_that_recipes_give(name: str, goal: Target, backend: str) -> None:
    for step in pass_defaults.resolve(catalog.recipe(name), goal, backend).passes:
        kind = registry.pass_type(step.name)
        built = kind.from_dict(step.config)
        assert {key: built.to_dict()[key] for key in step.config} == dict(step.config)


@pytest.mark.parametrize(
    ("goal", "activations", "reduce_range"), [(ARM, "s8", False), (VNNI, "u8", False), (AVX2, "u8", True)]
)
def test_the_target_decides_the_flavour_of_int8(goal: Target, activations: str, reduce_range: bool) -> None:
    static = pass_defaults.resolve(BUILTIN["int8-static"], goal).passes[0]
    assert static.config == {"activations": activations, "reduce_range": reduce_range}
    dynamic = pass_defaults.resolve(BUILTIN["int8-dynamic"], goal).passes[0]
    assert dynamic.config == {"reduce_range": reduce_range}


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ({"arch": "x86_64", "isa": ("avx2",)}, {}, {"device": "CPU", "reduce_range": True}),
        ({"arch": "x86_64", "isa": ("avx2", "avx_vnni")}, {}, {"device": "CPU", "reduce_range": False}),
        ({"arch": "x86_64", "isa": ("amx_int8",)}, {}, {"device": "CPU", "reduce_range": False}),
        ({"arch": "aarch64"}, {}, {"device": "CPU", "reduce_range": False}),
        ({"arch": "x86_64", "isa": ("avx2",)}, {"device": "GPU.1"}, {"device": "GPU", "reduce_range": False}),
        ({"arch": "x86_64"}, {"device": "NPU"}, {"device": "NPU", "reduce_range": False}),
        ({"arch": "x86_64"}, {"device": "AUTO"}, {"device": "ANY", "reduce_range": False}),
    ],
)
def test_nncf_quantizes_for_the_kernels_of_the_target(device: dict, options: dict, expected: dict) -> None:
    goal = Target("some", "some", device=Device(**device), options={"openvino": options})
    assert pass_defaults.resolve(catalog.recipe("int8-nncf"), goal, "openvino").passes[0].config == expected
    assert pass_defaults.resolve(catalog.recipe("int8-nncf-bf16"), goal, "openvino").passes[1].config == expected


def test_what_a_recipe_says_wins_and_resolving_twice_changes_nothing() -> None:
    mine = Recipe("mine", "m", (PassConfig("quantize-static", {"activations": "s8"}),), "i8")
    once = pass_defaults.resolve(mine, AVX2)
    assert once.passes[0].config == {"activations": "s8", "reduce_range": True}
    assert pass_defaults.resolve(once, AVX2) == once
    assert pass_defaults.resolve(BUILTIN["fp16"], AVX2) == BUILTIN["fp16"]


def test_the_target_decides_the_widths_and_the_user_the_share() -> None:
    assert pass_defaults.resolve(catalog.recipe("pruned"), AVX2).passes[0].config == {"round_to": 8}
    assert pass_defaults.resolve(catalog.recipe("pruned"), ARM, "tensorrt", prune=0.5).passes[0].config == {
        "round_to": 32,
        "ratio": 0.5,
    }
    mine = Recipe("mine", "m", (PassConfig("prune", {"ratio": 0.2, "round_to": 4}),))
    assert pass_defaults.resolve(mine, AVX2, prune=0.5) == mine
