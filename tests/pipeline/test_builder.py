"""What a build leaves in the step cache: answers, and nothing that lacks one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import cache
from edgekit.model import Model
from edgekit.pipeline.builder import Builder
from edgekit.pipeline.compiled import CompiledPart
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.plugin import Built
from edgekit.progress import Silent
from edgekit.recipe.recipe import Recipe
from edgekit.spec import TensorSpec
from edgekit.testing import fake_plugin
from edgekit.testing.backend import linear_bias, linear_weight
from edgekit.testing.fake import NumpyBackend, write_model
from tests.pipeline.choosing import plan


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    layers = [(linear_weight(), linear_bias())]
    (tmp_path / "model").mkdir()
    with fake_plugin():
        yield write_model(
            tmp_path / "model", layers, TensorSpec("x", "f32", ("N", 4)), TensorSpec("y", "f32", ("N", 3))
        )


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Count the builds by how each answered; the first lacks an answer."""
    repeated: list[bool] = []
    build = NumpyBackend.build

    def built(*args: object) -> Built:
        repeated.append(bool(repeated))
        return replace(build(*args), cacheable=repeated[-1])

    monkeypatch.setattr(NumpyBackend, "build", built)
    return repeated


def compiled(builder: Builder, model: Model) -> CompiledPart:
    return builder.compiled(model, PlannedCandidate("numpy", Recipe("fp32", "as it is")))


def test_what_lacks_an_answer_serves_its_export_and_is_built_anew_by_the_next(model: Model, builds: list[bool]) -> None:
    with Builder(plan(), Silent()) as builder:
        passing = compiled(builder, model)
        assert compiled(builder, model) == passing, "one export asks once"
        assert passing.payload.main.is_file() and not passing.built.cacheable
    assert builds == [False]
    assert not passing.folder.exists() and not list((cache.folder() / "work").iterdir())
    for _ in range(2):
        with Builder(plan(), Silent()) as builder:
            kept = compiled(builder, model)
    assert builds == [False, True], "an answer is kept"
    assert kept.key == passing.key and kept.payload.main.is_file()
