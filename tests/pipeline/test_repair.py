"""How a repair searches: the least number of layers in float, in few trials. What it does to a model is in `e2e/`."""

from __future__ import annotations

import math

import pytest

from edgekit import catalog
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.repair import least_passing, repairable
from edgekit.recipe import toml_file
from edgekit.recipe.recipe import PassConfig, Recipe


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 20, 36, 100])
def test_the_least_count_that_passes_is_found_in_few_trials(layers: int) -> None:
    for needed in range(1, layers + 1):
        tried: list[int] = []

        def passes(count: int, needed: int = needed, tried: list[int] = tried) -> bool:
            tried.append(count)
            return count >= needed

        assert least_passing(layers, passes) == (needed if needed < layers else None)
        assert len(tried) == len(set(tried)), "no count is tried twice"
        assert all(0 < count < layers for count in tried)
        assert len(tried) <= 2 * math.log2(max(layers, 2)) + 1


def test_what_can_be_repaired_is_said_by_the_pass() -> None:
    def planned(name: str) -> PlannedCandidate:
        return PlannedCandidate("onnxruntime", catalog.recipe(name))

    assert repairable(planned("int8-static")) == PassConfig("quantize-static")
    assert repairable(planned("int8-static-bf16")) == PassConfig("quantize-static")
    assert repairable(planned("fp32")) is None and repairable(planned("fp16")) is None


def test_a_recipe_file_repeats_its_recipe(tmp_path) -> None:
    recipe = Recipe(
        "careful", 'the "careful" one',
        (PassConfig("quantize-static", {"exclude": ["/a/MatMul", "b"], "per_channel": True, "samples": 20}),
         PassConfig("cast", {"dtype": "bf16"})),
        "i8+bf16",
    )  # fmt: skip
    (tmp_path / "careful.toml").write_text(toml_file.to_toml(recipe))
    assert catalog.recipe(str(tmp_path / "careful.toml")) == recipe
