"""Which recipes are tried for which backend, and what stands in the way of a pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points

import pytest
from edgekit_openvino.quantize import Nncf

from edgekit import api, catalog, registry
from edgekit.errors import EnvironmentFault, UnsupportedError
from edgekit.pipeline import recipe_passes
from tests.wording import mentions, raises


def names(**project: object) -> list[str]:
    return [candidate.name for candidate in api.plan("digits", target="host", bench=False, **project).candidates]


def test_a_recipe_of_one_backend_is_tried_with_that_backend_only() -> None:
    assert names(recipe="int8-nncf") == ["openvino/int8-nncf"]
    assert not [name for name in names() if name.startswith("onnxruntime/int8-nncf")]
    assert "openvino/int8-nncf" in names()


def test_who_names_the_pair_is_told_why_it_cannot_be() -> None:
    for asked in ({"recipe": "int8-nncf", "backends": ["onnxruntime"]}, {"candidates": ["onnxruntime/int8-nncf"]}):
        with pytest.raises(UnsupportedError) as caught:
            api.plan("digits", target="host", **asked)
        assert mentions(str(caught.value), "ONNX Runtime", ("onnx", "'openvino'"))


def test_the_bf16_flavour_ends_in_the_format_of_openvino() -> None:
    for name in ("int8-nncf", "int8-nncf-bf16"):
        for start in ("torch", "onnx"):
            assert recipe_passes.formats(catalog.recipe(name), start) == ("openvino", ())


def test_a_package_that_a_pass_lacks_is_named_with_the_line_that_installs_it(monkeypatch) -> None:
    assert recipe_passes.missing_packages(catalog.recipe("int8-nncf")) == ()
    monkeypatch.setattr(Nncf, "packages", ("onnx", "no_such_package"))
    (fault,) = recipe_passes.missing_packages(catalog.recipe("int8-nncf"))
    assert mentions(fault.message, "'nncf'", "no_such_package")
    assert fault.hint == "pip install 'edgekit-openvino[build]'"
    plan = api.plan("digits", target="host", bench=False)
    lost = {candidate.name: candidate.problems for candidate in plan.candidates if candidate.problems}
    assert f"{fault.message} ({fault.hint})" in lost["openvino/int8-nncf"]
    assert "openvino/int8-static" in [candidate.name for candidate in plan.possible], (
        "the others are tried all the same"
    )


@pytest.fixture
def without(monkeypatch) -> Iterator[Callable[..., None]]:
    """Return a function after whose call the distributions named are not installed."""

    def take(*names: str) -> None:
        def others(group: str) -> list[EntryPoint]:
            return [point for point in entry_points(group=group) if point.name not in names]

        registry.forget()
        monkeypatch.setattr(registry, "entry_points", others)

    yield take
    monkeypatch.undo()
    registry.forget()


@pytest.mark.parametrize(
    "asked",
    [
        {"recipe": "int8-nncf"},
        {"recipe": "int8-nncf", "backends": ["onnxruntime"]},
        {"candidates": ["onnxruntime/int8-nncf"]},
        {"candidates": ["openvino/int8-nncf"]},
    ],
)
def test_who_asks_for_a_pass_of_a_missing_plugin_is_told_what_to_install(asked, without) -> None:
    without("nncf", "openvino")
    with raises(EnvironmentFault, re.compile(r"'int8-nncf'.* edgekit-openvino\.$")) as caught:
        api.plan("digits", target="host", **asked)
    assert caught.value.hint == "pip install 'edgekit-openvino[build]'"
    assert caught.value.exit_code == 3


def test_who_asks_for_a_pass_without_its_packages_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(Nncf, "packages", ("onnx", "no_such_package"))
    with raises(EnvironmentFault, "'nncf'", "no_such_package") as caught:
        api.plan("digits", target="host", recipe="int8-nncf")
    assert caught.value.hint == "pip install 'edgekit-openvino[build]'"


def test_a_missing_backend_is_named_though_another_candidate_lacks_a_pass(without) -> None:
    without("nncf", "openvino")
    for candidates in (["openvino/int8-static"], ["openvino/int8-static", "onnxruntime/int8-nncf"]):
        with raises(EnvironmentFault, "'host'", "openvino") as caught:
            api.plan("digits", target="host", candidates=candidates)
        assert caught.value.hint == "pip install edgekit-openvino"


def test_a_pass_whose_plugin_is_missing_names_the_plugin_and_the_rest_goes_on(without) -> None:
    without("nncf")
    with raises(EnvironmentFault, "'nncf'", "edgekit-openvino") as caught:
        registry.pass_type("nncf")
    plan = api.plan("digits", target="host", bench=False)
    assert caught.value.hint == "pip install 'edgekit-openvino[build]'"
    assert "openvino/int8-static" in [candidate.name for candidate in plan.possible]
    (lost,) = [candidate for candidate in plan.candidates if candidate.name == "openvino/int8-nncf"]
    assert mentions(lost.problems[0], "edgekit-openvino")
