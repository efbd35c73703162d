"""How a repair searches: the least number of layers in float, in few trials. What it does to a model is in `e2e/`."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

import edgekit.pipeline.repair as module
from edgekit import catalog
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.repair import least_passing, most_trials, repairable
from edgekit.pipeline.stopwatch import Stopwatch
from edgekit.plugin import LayerCost
from edgekit.progress import Silent
from edgekit.recipe import toml_file
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.result.report import Check, Quality, Repair
from tests.wording import mentions


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


def limited(monkeypatch, limit_s: float, needed: int, *, trial_s: float = 10.0, layers: int = 20):
    """Repair a candidate of many layers whose trials take `trial_s` each; `needed` layers in float pass."""
    now = [0.0]
    watch = Stopwatch(limit_s, clock=lambda: now[0])
    costs = LayerCost.ordered(LayerCost(f"layer{index}", "Conv", 1.0 / (index + 1)) for index in range(layers))
    monkeypatch.setattr(module, "layer_costs", lambda *_: costs)
    export = SimpleNamespace(builder=SimpleNamespace(repairing=watch), progress=Silent())
    planned = PlannedCandidate("onnxruntime", catalog.recipe("int8-static"))

    def build_and_judge(changed):
        now[0] += trial_s
        in_float = len(changed.recipe.passes[0].config["exclude"])
        check = Check("accuracy drop", 0.0, 0.01, in_float >= needed, "judged")
        return SimpleNamespace(quality=Quality(10, 10, 0.0, 0.0, 1.0, None, checks=(check,)), layers=in_float)

    record, candidate = module.repair(export, planned, None, build_and_judge, trial_s)
    return record, candidate, watch


def test_a_repair_stops_before_its_limit_and_names_what_comes_next(monkeypatch):
    record, candidate, watch = limited(monkeypatch, 35, needed=15)
    assert candidate is None and [each.layers_in_float for each in record.attempts] == [1, 2, 4]
    assert watch.spent_s <= 35 and mentions(record.stopped, "35 s", "--budget", "8 of 20 layers")
    assert Repair.from_dict(record.to_dict()) == record


def test_what_passed_until_the_limit_counts(monkeypatch):
    record, candidate, _ = limited(monkeypatch, 55, needed=5)
    assert candidate.layers == record.layers_in_float == 6, "8 passed, then 6; 5 was not tried"
    assert mentions(record.stopped, "5 of 20 layers")


def test_without_time_for_one_trial_nothing_is_measured(monkeypatch):
    record, candidate, watch = limited(monkeypatch, 5, needed=1)
    assert candidate is None and watch.spent_s == 0 and mentions(record.stopped, "costs")


def test_the_number_of_trials_is_not_underestimated():
    for layers in (2, 3, 7, 20, 100):
        for needed in range(1, layers + 1):
            tried: list[int] = []
            least_passing(layers, lambda count: (tried.append(count), count >= needed)[1])  # noqa: B023
            assert len(tried) <= most_trials(layers)


def test_a_layer_that_makes_values_not_finite_costs_most():
    costs = [
        LayerCost.of("small", "Conv", [1.0], [100.0]),
        LayerCost.of("broken", "Sqrt", [math.nan], [1.0]),
        LayerCost.of("overflow", "Exp", [math.inf, 0.0], [1.0, 1.0]),
        LayerCost.of("large", "Gemm", [4.0, 0.0], [1.0, 1e9]),
    ]
    assert [cost.name for cost in LayerCost.ordered(costs)] == ["broken", "overflow", "large", "small"]
    assert LayerCost.from_dict(costs[1].to_dict()).rel_l2 == math.inf
    assert LayerCost.ordered([costs[0], LayerCost("nan", "Sqrt", math.nan)])[0].name == "nan"


def test_the_cost_of_a_layer_is_that_of_the_output_that_changes_most():
    assert LayerCost.of("scores", "Conv", [0.0, 1.0], [1e8, 4.0]).rel_l2 == pytest.approx(0.5)
