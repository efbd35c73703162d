"""What backends bring: settings of passes, variants of targets, runtimes. Of recipes: tests/recipe."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from edgekit import catalog, registry
from edgekit.device import fault
from edgekit.errors import EnvironmentFault, UsageError
from edgekit.pipeline import pass_defaults
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.testing import install, installed
from tests.device.boards import board_host
from tests.wording import raises

BACKEND = """
from dataclasses import dataclass, replace
from edgekit.errors import UsageError
from edgekit.plugin import API, KnownFault, Record, Runtime

class Npu:
    api, name, summary, accepts = API, "npu", "a made-up NPU", frozenset({"onnx"})
    runtime = Runtime(
        ("npu-runtime",), modules=("npu_runtime",), alone=("npu-runtime",),
        faults=(KnownFault("npu-runtime", "2.0", "aarch64", "dotprod", "1.9 and 2.1", "seen in a test"),),
    )

    @dataclass(frozen=True)
    class options(Record):
        pass

    def probe(self): ...
    def supports(self, model, target): ...
    def build(self, model, target, options, workdir): ...
    def open(self, payload): ...

    def pass_defaults(self, pass_name, target):
        return {"symmetric_activations": True} if pass_name == "quantize-static" else {}

    def variant(self, target, name):
        if name != "mk2":
            raise UsageError(f"'{target.name}' has no '{name}'.")
        return replace(target, name=f"{target.name}:{name}")
"""
TARGET = 'summary = "a board"\nbackends = ["openvino", "npu"]\n[device]\narch = "aarch64"\n'


@pytest.fixture
def npu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "work" / "targets").mkdir(parents=True)
    (tmp_path / "work" / "targets" / "npu-board.toml").write_text(TARGET)
    monkeypatch.chdir(tmp_path / "work")
    points = {"edgekit.backends": {"npu": "edgekit_npu:Npu"}}
    with installed(install(tmp_path / "site", "edgekit-npu", points, {"edgekit_npu.py": BACKEND})):
        yield


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide every installed backend."""
    registry.forget()
    monkeypatch.setattr(
        registry, "entry_points", lambda group: () if group == "edgekit.backends" else entry_points(group=group)
    )
    yield
    monkeypatch.undo()
    registry.forget()


def test_listing_what_backends_bring_loads_no_runtime() -> None:
    code = (
        "import sys; from edgekit import catalog\n"
        "catalog.recipes(); catalog.runtimes(); catalog.target('nvidia-gpu:8.9')\n"
        "print(sorted({'onnxruntime', 'openvino', 'nncf', 'tensorrt', 'torch', 'onnx', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_settings_of_a_backend_come_before_those_of_the_processor_and_after_the_recipe_s(npu: None) -> None:
    board_of_ours = catalog.target("npu-board")
    plain, own = (Recipe("r", "r", (PassConfig("quantize-static", c),)) for c in ({}, {"symmetric_activations": False}))
    of_arm = {"activations": "s8", "reduce_range": False}
    assert pass_defaults.resolve(plain, board_of_ours, "onnxruntime").passes[0].config == of_arm
    assert pass_defaults.resolve(plain, board_of_ours, "npu").passes[0].config == {
        **of_arm,
        "symmetric_activations": True,
    }
    assert pass_defaults.resolve(own, board_of_ours, "npu").passes[0].config["symmetric_activations"] is False


def test_a_variant_is_resolved_by_its_backend(npu: None) -> None:
    assert catalog.target("npu-board:mk2").name == "npu-board:mk2"
    with raises(UsageError, "'mk9'", "'npu-board'"):
        catalog.target("npu-board:mk9")


def test_a_variant_whose_backend_is_missing_names_what_to_install(alone: None) -> None:
    assert catalog.target("nvidia-gpu").device.sm is None
    with raises(EnvironmentFault, "'tensorrt'") as caught:
        catalog.target("nvidia-gpu:8.9")
    assert caught.value.hint == "pip install edgekit-tensorrt"


def test_without_backends_their_recipes_name_their_plugin(alone: None) -> None:
    for name, package in registry.KNOWN_RECIPES.items():
        with raises(EnvironmentFault, f"'{name}'", re.compile("edgekit-")) as caught:
            catalog.recipe(name)
        assert caught.value.hint == f"pip install '{package}'"
    assert catalog.runtimes() == {}


def test_the_table_of_what_to_install_is_what_the_plugins_bring() -> None:
    """The one place of the core that names vendors holds nothing that they do not bring."""
    own = {name for backend in registry.names("backend") for name in catalog.recipes(backend)} - set(catalog.BUILTIN)
    assert set(registry.KNOWN_RECIPES) == own
    assert set(registry.KNOWN_PLUGINS) == set(registry.names("backend"))
    for name, package in registry.KNOWN_PASSES.items():
        assert registry.distribution("pass", name).split()[0] == package.partition("[")[0]


def test_faults_of_a_third_party_s_runtime_are_known(npu: None) -> None:
    assert fault.exclusions("npu-runtime", board_host()) == ("!=2.0",)
    error = fault.death("SIGILL", board_host(), {"npu-runtime": "2.0"}, "importing the runtime")
    assert "npu-runtime 2.0 dies on processors without dotprod (seen in a test)" in error.message
    assert "--require 'npu-runtime==2.1'" in (error.hint or "")
    other = fault.death("SIGSEGV", board_host(), {"npu-runtime": "1.9", "numpy": "2.0"}, "measuring")
    assert "with npu-runtime 1.9." in other.message
