"""What decides whether a step is taken from the cache: its config, the code that makes it, the packages it uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import registry
from edgekit.model import Model
from edgekit.pipeline import builder
from edgekit.pipeline.builder import Builder
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.progress import Silent
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.spec import TensorSpec
from edgekit.testing import fake_plugin, install, installed
from edgekit.testing.backend import linear_bias, linear_weight
from edgekit.testing.fake import FakeRound, NumpyBackend, write_model
from tests.pipeline.choosing import plan

PASS = """
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from edgekit.plugin import Record

@dataclass(frozen=True)
class Stamp(Record):
    name: ClassVar[str] = "stamp"
    accepts: ClassVar[frozenset[str]] = frozenset({"numpy-mlp"})
    gives: ClassVar[str] = "numpy-mlp"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("stamp-helper",)

    log: str = ""

    def apply(self, model, samples, workdir):
        with Path(self.log).open("a") as file:
            file.write("applied\\n")
        shutil.copytree(model.folder, workdir, dirs_exist_ok=True)
        return replace(model, folder=workdir)
"""


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    (tmp_path / "model").mkdir()
    specs = TensorSpec("x", "f32", ("N", 4)), TensorSpec("y", "f32", ("N", 3))
    with fake_plugin():
        yield write_model(tmp_path / "model", [(linear_weight(), linear_bias())], *specs)


def applied(model: Model, place: Path, *, helper: str = "1.0", other: str = "1.0", deep: str = "A = 1") -> int:
    """Install the pass with its helper, run it, and return how often it has been applied so far."""
    folder = place / f"{helper}-{other}-{deep}"
    if not folder.exists():
        files = {
            "edgekit_stamp/__init__.py": "",
            "edgekit_stamp/passes/stamp.py": PASS,
            "edgekit_stamp/deep/a.py": deep,
        }
        files |= {"edgekit_stamp/passes/__init__.py": "", "edgekit_stamp/deep/__init__.py": ""}
        points = {"edgekit.passes": {"stamp": "edgekit_stamp.passes.stamp:Stamp"}}
        install(folder, "edgekit-stamp", points, files)
        install(folder, "stamp-helper", {}, version=helper)
        install(folder, "unrelated", {}, version=other)
    log = place / "log"
    recipe = Recipe("stamped", "stamped", (PassConfig("stamp", {"log": str(log)}),))
    with installed(folder), Builder(plan(), Silent()) as builder:
        builder.with_passes(model, PlannedCandidate("numpy", recipe), None)
    return len(log.read_text().splitlines())


def test_a_step_of_a_third_party_is_made_again_where_its_package_or_its_code_changed(
    model: Model, tmp_path: Path
) -> None:
    place = tmp_path / "site"
    assert applied(model, place) == 1
    assert applied(model, place) == 1, "the same pass, the same packages"
    assert applied(model, place, other="2.0") == 1, "a package that it does not use"
    assert applied(model, place, helper="2.0") == 2, "a package that it names"
    assert applied(model, place, deep="A = 2") == 3, "a file in another folder of its package"
    assert applied(model, place) == 3, "what was made at first is still there"


def test_code_of_ours_is_the_class_s_folder_and_the_heavy_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    digested: list[Path] = []
    monkeypatch.setattr(builder, "digest_of_file", lambda path: digested.append(path) or "digest")

    def folders(kind: type) -> set[str]:
        digested.clear()
        builder.code_of.__wrapped__(kind)
        return {path.relative_to(builder.OURS).parts[0] for path in digested}

    rooms = {"frameworks", "passes", "sources"}
    assert folders(registry.pass_type("quantize-static")) == rooms
    assert folders(FakeRound) == {*rooms, "testing"}
    assert {path.parent.name for path in digested} >= {"quantize", "onnx", "frameworks"}


def test_code_of_a_single_module_is_that_file_alone(tmp_path: Path) -> None:
    module = PASS.replace("edgekit_stamp", "stamp")
    points = {"edgekit.passes": {"stamp": "stamp_module:Stamp"}}
    digests = set()
    for number, neighbour in enumerate(("A = 1", "A = 2")):
        folder = install(tmp_path / str(number), "stamp", points, {"stamp_module.py": module, "other.py": neighbour})
        with installed(folder):
            digests.add(builder.code_of(registry.pass_type("stamp")))
    assert len(digests) == 1


def test_a_backend_s_versions_are_those_of_its_probe() -> None:
    assert builder.made_by(NumpyBackend)["packages"].keys() == {"numpy"}
