"""What a search chooses among: only what applies, every point once, and a recipe for each that repeats it."""

from __future__ import annotations

import json

import pytest

from edgekit.errors import UsageError
from edgekit.pipeline import planning, search_space
from edgekit.project import Project
from edgekit.recipe import toml_file
from edgekit.target import host
from tests.wording import mentions, raises


@pytest.fixture
def made():
    return planning.plan(Project(model="digits", backends=("onnxruntime",)))


def small() -> search_space.Space:
    recipes = {"onnxruntime": ("int8-static", "fp16"), "openvino": ("fp16",)}
    return search_space.Space(recipes, ("minmax", "mse"), (32, 100, 300), (0.0, 0.5), (0.0,))


def test_the_space_holds_what_applies(made):
    space = search_space.space(made, 150)
    assert "int8-static" in space.recipes["onnxruntime"] and "fp16" in space.recipes["onnxruntime"]
    assert "fp32" not in space.recipes["onnxruntime"], "it changes nothing"
    assert "int8-entropy" not in space.recipes["onnxruntime"], "a method of its own is another choice"
    assert "bf16" not in space.recipes["onnxruntime"], "that runtime has no such arithmetic"
    assert {"minmax", "entropy", "mse"} <= set(space.methods)
    assert space.samples == (32, 100, 150)
    assert space.pruned == (0.0,), "without training data nothing is pruned"


def test_without_data_there_is_nothing_to_search(tmp_path, made):
    from dataclasses import replace

    (tmp_path / "net.onnx").write_bytes(b"not looked into")
    blind = replace(made, project=Project(model=str(tmp_path / "net.onnx"), backends=("onnxruntime",)), source="onnx")
    with raises(UsageError, "search", hint=("--data", "--search")):
        search_space.space(blind, 0)


def test_every_point_comes_once_and_asks_only_what_matters():
    points = [point for _, point in small().points()]
    assert len(points) == len({json.dumps(point, sort_keys=True) for point in points}) == 2 * 3 * 2 + 1 + 1
    for point in points:
        assert ("method" in point) == ("in_float" in point) == (point["recipe"] == "int8-static")


def test_the_choices_lead_to_the_point():
    for choices, point in small().points():
        assert small().draw(lambda name, values, choices=choices: choices[name]) == point


def test_a_point_is_a_recipe_that_repeats_it(made):
    point = {"backend": "onnxruntime", "recipe": "int8-static", "method": "mse", "samples": 32, "in_float": 0.25}
    ranked = []

    def worst(planned):
        ranked.append(planned.recipe.passes[0].config)
        return ["a", "b", "c", "d", "e"]

    candidate = search_space.candidate(made, point, "search7", worst)
    assert candidate.name == "onnxruntime/int8-static-search7" and not candidate.problems
    (step,) = candidate.recipe.passes
    assert (step.config["method"], step.config["samples"], step.config["exclude"]) == ("mse", 32, ["a", "b"])
    assert "activations" in step.config, "what the target decides is in it"
    assert "method" not in ranked[0], "layers are ranked once for all settings"
    assert mentions(candidate.recipe.summary, "search", ("int8-static", "mse", "32 samples", "25%", "float"))
    assert toml_file.to_toml(candidate.recipe)


def test_some_layer_stays_in_int8(made):
    point = {"backend": "onnxruntime", "recipe": "int8-static", "method": "mse", "samples": 32, "in_float": 0.5}
    candidate = search_space.candidate(made, point, "search1", lambda _: ["only"])
    assert not candidate.recipe.passes[0].config.get("exclude")


def test_a_search_for_speed_needs_measurements():
    with raises(UsageError, "latency", "measured", hint="--objective size"):
        Project(search=5, bench=False)
    assert Project(search=5, bench=False, objective="size").search == 5
    with raises(UsageError, "'raspberry-pi-5'", ("aarch64", host.probe().arch), hint="--objective size"):
        planning.plan(Project(model="digits", target="raspberry-pi-5", search=5))
