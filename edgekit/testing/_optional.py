"""Tests of a backend's optional parts: its runtime, its recipes, the settings of passes."""

from __future__ import annotations

import pytest

from edgekit import registry
from edgekit.plugin import Backend, PassConfig, WithPassDefaults, WithRecipes, WithRuntime
from edgekit.recipe.builtin import BUILTIN
from edgekit.testing._linear import LinearModel


class OptionalParts(LinearModel):
    """Test that the optional parts of a backend keep the contract; those that it leaves out are skipped."""

    def test_its_runtime_is_consistent(self, backend: Backend) -> None:
        if not isinstance(backend, WithRuntime):
            pytest.skip("the backend has no `runtime`")
        runtime = backend.runtime
        assert runtime.packages and set(runtime.alone) <= set(runtime.packages)
        assert {fault.package for fault in runtime.faults} <= set(runtime.packages)

    def test_its_recipes_can_be_built(self, backend: Backend) -> None:
        if not isinstance(backend, WithRecipes):
            assert not hasattr(backend, "recipes"), "a backend with recipes has `default_recipes` too"
            pytest.skip("the backend has no recipes of its own")
        own = {recipe.name: recipe for recipe in backend.recipes}
        assert len(own) == len(backend.recipes)
        assert not set(own) & set(BUILTIN), "a recipe has the name of a built-in one"
        assert set(backend.default_recipes) <= {*own, *BUILTIN}
        for recipe in backend.recipes:
            assert recipe.summary and recipe.precision
            for step in recipe.passes:
                registry.configured(step, recipe.name)

    def test_its_settings_of_passes_exist(self, backend: Backend) -> None:
        if not isinstance(backend, WithPassDefaults):
            pytest.skip("the backend has no settings of passes")
        for name in registry.names("pass"):
            registry.configured(PassConfig(name, backend.pass_defaults(name, self.target())), backend.name)
        assert backend.pass_defaults("no-such-pass", self.target()) == {}
