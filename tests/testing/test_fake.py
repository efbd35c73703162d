"""The fake plugin, held to the contract by the classes that every author inherits, and used through the registry."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgekit import registry
from edgekit.errors import ArtifactError, UnsupportedError, UsageError
from edgekit.model import Model, Reference
from edgekit.plugin import Payload
from edgekit.spec import TensorSpec
from edgekit.target import host
from edgekit.target.target import Device, Target
from edgekit.tasks.config import TaskConfig
from edgekit.testing import BackendTests, PassTests, SourceTests, fake_plugin
from edgekit.testing.backend import linear_bias, linear_weight
from edgekit.testing.fake import FakeRound, FakeSource, NumpyBackend, write_model
from edgekit.testing.finishable import PortableNumpy
from tests.wording import mentions, raises

FEATURES, CLASSES = 6, 3


def write_reference(folder: Path) -> Reference:
    """Write a two-layer classifier with seeded weights."""
    dice = np.random.default_rng(7)
    arrays = {
        "w0": dice.standard_normal((FEATURES, 16)),
        "b0": dice.standard_normal(16),
        "w1": dice.standard_normal((16, CLASSES)),
        "b1": dice.standard_normal(CLASSES),
    }
    np.savez(folder / "weights.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})
    described = {"weights": "weights.npz", "labels": ["a", "b", "c"], "features": [f"f{i}" for i in range(FEATURES)]}
    (folder / "model.json").write_text(json.dumps(described))
    return Reference(f"fake:{folder / 'model.json'}")


def rows(count: int = 200) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, FEATURES)).astype(np.float32)


class TestNumpyBackend(BackendTests):
    @pytest.fixture
    def backend(self):
        return NumpyBackend()

    def model(self, folder: Path) -> Model:
        return write_model(folder, [(linear_weight(), linear_bias())], self.inputs[0], self.outputs[0])


class TestPortableNumpy(TestNumpyBackend):
    @pytest.fixture
    def backend(self):
        return PortableNumpy()


class TestFakeRound(PassTests):
    def subject(self) -> FakeRound:
        return FakeRound()

    def model(self, folder: Path) -> Model:
        layers = [(linear_weight(), linear_bias())]
        return write_model(folder, layers, TensorSpec("x", "f32", ("N", 4)), TensorSpec("y", "f32", ("N", 3)))


class TestFakeSource(SourceTests):
    def source(self) -> FakeSource:
        return FakeSource()

    def reference(self, folder: Path) -> Reference:
        return write_reference(folder)

    def bad_references(self, folder: Path) -> dict[str, Reference]:
        (folder / "broken.json").write_text("{")
        (folder / "typo.json").write_text('{"weight": "w.npz", "labels": [], "features": []}')
        (folder / "alone.json").write_text('{"weights": "gone.npz", "labels": [], "features": []}')
        return {
            "missing": Reference(f"fake:{folder / 'nothing.json'}"),
            "broken": Reference(f"fake:{folder / 'broken.json'}"),
            "typo": Reference(f"fake:{folder / 'typo.json'}"),
            "no weights": Reference(f"fake:{folder / 'alone.json'}"),
        }

    def feeds(self) -> dict[str, np.ndarray]:
        return {"features": rows(5)}


# Together, as the pipeline uses them


def loaded(tmp_path: Path) -> Model:
    for name in ("given", "work"):
        (tmp_path / name).mkdir()
    return FakeSource().load(write_reference(tmp_path / "given"), tmp_path / "work")


def outputs(model: Model, folder: Path, **options: object) -> np.ndarray:
    folder.mkdir()
    here = host.probe()
    target = Target("host", "here", device=Device(arch=here.arch, isa=here.isa))
    built = NumpyBackend().build(model, target, options, folder)
    assert built.evidence == "built_on_device"
    with closing(NumpyBackend().open(Payload(folder, built.files, model.part, built.options))) as session:
        return session.run({"features": rows()})["logits"]


def test_built_float_model_is_the_original(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    original = model.original.run({"features": rows()})["logits"]
    assert np.array_equal(outputs(model, tmp_path / "built"), original)


@pytest.mark.parametrize(("bits", "least", "most"), [(8, 0.97, 1.0), (2, 0.0, 0.95)])
def test_rounding_costs_what_the_bits_say(tmp_path: Path, bits: int, least: float, most: float) -> None:
    model = loaded(tmp_path)
    (tmp_path / "rounded").mkdir()
    rounded = FakeRound(bits).apply(model, None, tmp_path / "rounded")
    answers = outputs(rounded, tmp_path / "built").argmax(1)
    agreement = float((answers == model.original.run({"features": rows()})["logits"].argmax(1)).mean())
    assert least <= agreement <= most
    assert rounded.precision == "i8-dynamic"


def test_precision_tells_rounded_layers(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    (tmp_path / "rounded").mkdir()
    (tmp_path / "built").mkdir()
    rounded = FakeRound().apply(model, None, tmp_path / "rounded")
    built = NumpyBackend().build(rounded, Target("t", "t"), {}, tmp_path / "built")
    with closing(NumpyBackend().open(Payload(tmp_path / "built", built.files, model.part))) as session:
        assert (session.precision.main, session.precision.layers) == ("i8", {"i8": 2})
        assert [layer.precision for layer in session.profile({"features": rows(1)})] == ["i8", "i8"]


def test_source_leaves_a_task_for_the_device(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    config = TaskConfig.load(model.assets)
    assert config is not None and config.tabular is not None
    assert config.labels == ("a", "b", "c")
    assert len(config.tabular.columns) == FEATURES


def test_faults_are_told(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    (tmp_path / "out").mkdir()
    with raises(UsageError, "bits = 9", ("2", "8")):
        FakeRound(9).apply(model, None, tmp_path / "out")
    fixed = Target("npu", "an NPU", static_shapes_only=True)
    assert mentions(NumpyBackend().supports(model, fixed).problems[0], "features:f32[batch,6]")
    rounded = FakeRound().apply(model, None, tmp_path / "out")
    with raises(UnsupportedError, "rounded"):
        FakeRound().apply(rounded, None, tmp_path)
    (tmp_path / "given" / "weights.npz").write_bytes(b"PK")
    with raises(ArtifactError, "'weights.npz'"):
        FakeSource().load(Reference(f"fake:{tmp_path / 'given' / 'model.json'}"), tmp_path / "out")


def test_installed_it_is_found_by_the_registry_and_gone_afterwards() -> None:
    before = registry.names("backend")
    with fake_plugin():
        assert "numpy" in registry.names("backend")
        assert registry.backend("numpy").accepts == {"numpy-mlp"}
        assert registry.pass_type("fake-round") is FakeRound
        assert registry.distribution("pass", "fake-round") == "edgekit-fake 1.0"
        code = "from edgekit import registry; print(registry.backend('numpy').summary)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "pure numpy, for tests\n", "children find it too"
    assert registry.names("backend") == before


def test_the_fake_needs_neither_pytest_nor_a_framework() -> None:
    code = (
        "import sys\nfrom edgekit.testing import import_blocker\n"
        "with import_blocker('pytest', 'torch', 'onnx'):\n"
        "    from edgekit.testing.fake import NumpyBackend\n"
        "    assert NumpyBackend().probe().available\n"
        "print(sorted({'pytest', 'torch', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
