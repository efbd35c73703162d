"""The conformance classes find what they are for: each is given a plugin with one fault and must fail on it."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

import edgekit.testing
from edgekit import registry
from edgekit.testing import FRAMEWORKS, import_blocker, install, installed

pytest_plugins = ("pytester",)

BACKEND = """
import numpy as np
import pytest
from edgekit.errors import UsageError
from edgekit.testing import BackendTests
from edgekit.testing.backend import linear_bias, linear_weight
from edgekit.testing.fake import NumpyBackend, NumpySession, write_model

class Session(NumpySession):
{session}

class Backend(NumpyBackend):
{backend}
    def open(self, payload):
        return Session(payload)

class TestIt(BackendTests):
    @pytest.fixture
    def backend(self):
        return Backend()

    def model(self, folder):
        return write_model(folder, [(linear_weight(), linear_bias())], self.inputs[0], self.outputs[0])
"""

PASS = """
from dataclasses import dataclass, replace
from edgekit.testing import PassTests
from edgekit.testing.backend import linear_bias, linear_weight
from edgekit.testing.fake import FakeRound, write_model
from edgekit.spec import TensorSpec

@dataclass(frozen=True)
class Mine(FakeRound):
{body}

class TestIt(PassTests):
    def subject(self):
        return Mine()

    def model(self, folder):
        x, y = TensorSpec("x", "f32", ("N", 4)), TensorSpec("y", "f32", ("N", 3))
        return write_model(folder, [(linear_weight(), linear_bias())], x, y)
"""

LIVE = """
import sys
from dataclasses import dataclass, replace
import torch
sys.path.insert(0, {example!r})
from edgekit.errors import UsageError
from edgekit.frameworks import torch_pass
from edgekit.testing import TorchPassTests
from edgekit_clip import Clip

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

class Tests(TorchPassTests):
    def module(self):
        torch.manual_seed(0)
        return Net(), torch.zeros(1, 6)

"""

FAULTY_LIVE = {
    "test_leaves_its_input_alone": """
def apply(self, model, samples, workdir, training=None):
    changed = super().apply(model, samples, workdir, training)
    torch_pass.module_of(model)[0].bias.data += 1
    return changed
""",
    "test_gives_another_module_in_evaluation_mode": """
def apply(self, model, samples, workdir, training=None):
    changed = super().apply(model, samples, workdir, training)
    torch_pass.module_of(changed)[1].train()
    return changed
""",
    "test_keeps_inputs_and_outputs": """
def apply(self, model, samples, workdir, training=None):
    changed = super().apply(model, samples, workdir, training)
    torch_pass.module_of(changed).append(torch.nn.Linear(2, 3))
    return changed
""",
    "test_equal_inputs_give_equal_weights": """
def _train(self, model, biases, training):
    super()._train(model, biases, training)
    biases[0].data += 0.01 * torch.rand(8)
""",
    "test_a_kill_changes_nothing": """
def _load(self, file, biases):
    return 0  # it begins anew
""",
    "test_writes_no_file_of_its_own": """
def apply(self, model, samples, workdir, training=None):
    (workdir / "module.pt").touch()
    return super().apply(model, samples, workdir, training)
""",
    "test_training_data_is_demanded_when_needed": """
def apply(self, model, samples, workdir, training=None):
    if training is None:
        raise UsageError("no training data.")
    return super().apply(model, samples, workdir, training)
""",
    "test_adds_one_line_of_lineage": """
def apply(self, model, samples, workdir, training=None):
    return replace(super().apply(model, samples, workdir, training), steps=())
""",
}
"""By the test that finds it, one fault each in the pass that docs/plugins.md shows."""


def failed(pytester: pytest.Pytester, code: str, only: str | None) -> set[str]:
    pytester.makepyfile(code)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", *(("-k", only) if only else ()))
    return {
        line.split("::")[2].split()[0].split("[")[0] for line in result.outlines if line.startswith(("FAILED", "ERROR"))
    }


@pytest.mark.parametrize(
    ("session", "backend", "test"),
    [
        ("pass", "    pass", None),
        (
            "def run(self, feeds):\n    outputs = super().run(feeds)\n    return {'y': outputs['y'] * 1.01}",
            "    pass",
            "test_run_gives_the_right_outputs",
        ),
        (
            "def bind(self, feeds):\n    return lambda: None",
            "    pass",
            "test_bad_feeds_are_usage_errors",
        ),
        (
            "def close(self):\n    pass",
            "    pass",
            "test_closed_session_refuses_work",
        ),
        ("pass", "    api = 99", "test_attributes_are_complete"),
        (
            "pass",
            "    def supports(self, model, target):\n        return super().supports(model, target).__class__()",
            "test_supports_refuses_an_unknown_format",
        ),
        (
            "pass",
            "    def build(self, model, target, options, workdir):\n"
            "        (workdir / 'left.txt').write_text('x')\n"
            "        return super().build(model, target, options, workdir)",
            "test_build_lists_what_it_wrote",
        ),
    ],
)
def test_faulty_backends_fail(pytester: pytest.Pytester, session: str, backend: str, test: str | None) -> None:
    failures = failed(pytester, BACKEND.format(session=textwrap.indent(session, "    "), backend=backend), test)
    assert (test in failures) if test else failures == set()


@pytest.mark.parametrize(
    ("body", "test"),
    [
        ("pass", None),
        ("gives = 'clay'", "test_gives_the_format_it_names"),
        (
            "def apply(self, model, samples, workdir):\n"
            "    changed = super().apply(model, samples, workdir)\n"
            "    (model.folder / 'mlp.npz').write_bytes(b'edited')\n"
            "    return changed",
            "test_leaves_its_input_alone",
        ),
        (
            "def apply(self, model, samples, workdir):\n"
            "    return replace(super().apply(model, samples, workdir), steps=())",
            "test_adds_one_line_of_lineage",
        ),
        (
            "def apply(self, model, samples, workdir):\n"
            "    import time\n"
            "    changed = super().apply(model, samples, workdir)\n"
            "    (workdir / 'stamp').write_text(str(time.time_ns()))\n"
            "    return changed",
            "test_equal_inputs_give_equal_bytes",
        ),
        (
            "def apply(self, model, samples, workdir):\n"
            "    import shutil\n"
            "    changed = super().apply(model, samples, workdir)\n"
            "    shutil.rmtree(workdir / 'assets', ignore_errors=True)\n"
            "    return changed",
            "test_keeps_assets_and_task",
        ),
        ("needs_samples = True", "test_samples_are_demanded_when_needed"),
    ],
)
def test_faulty_passes_fail(pytester: pytest.Pytester, body: str, test: str | None) -> None:
    failures = failed(pytester, PASS.format(body=textwrap.indent(body, "    ")), test)
    assert (test in failures) if test else failures == set()


@pytest.mark.nightly
@pytest.mark.needs("torch")
def test_faulty_passes_on_modules_fail(pytester: pytest.Pytester) -> None:
    example = Path(__file__).parent.parent / "examples" / "edgekit-clip"
    code = LIVE.format(example=str(example))
    for number, body in enumerate(FAULTY_LIVE.values()):
        code += (
            f"@dataclass(frozen=True)\nclass Mine{number}(Clip):\n{textwrap.indent(body, '    ')}\n"
            f"class TestIt{number}(Tests):\n    subject = lambda self: Mine{number}(sigmas=1.5)\n\n"
        )
    pytester.makepyfile(code)
    chosen = [
        f"test_faulty_passes_on_modules_fail.py::TestIt{number}::{test}" for number, test in enumerate(FAULTY_LIVE)
    ]
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", *chosen)
    result.assert_outcomes(failed=len(FAULTY_LIVE))


# The small tools


def test_blocked_packages_are_as_if_not_installed() -> None:
    loaded = importlib.import_module("json.decoder")
    with import_blocker("json"):
        for name in ("json", "json.decoder"):
            with pytest.raises(ModuleNotFoundError, match=r"No module named 'json' \(blocked"):
                importlib.import_module(name)
        importlib.import_module("csv")
    assert importlib.import_module("json.decoder") is loaded, "what was loaded before is given back"


def test_blocker_blocks_the_frameworks_by_default_and_not_their_namesakes() -> None:
    with import_blocker():
        for name in FRAMEWORKS:
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
        assert find_spec("onnxruntime") is not None


def test_installed_restores_path_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = install(
        tmp_path, "tiny", {"edgekit.sources": {"tiny": "tiny_source:Tiny"}}, {"tiny_source.py": "class Tiny: pass\n"}
    )
    before = list(sys.path)
    with installed(folder):
        assert "tiny" in registry.names("source")
        importlib.import_module("tiny_source")
    assert sys.path == before
    assert "PYTHONPATH" not in os.environ
    assert "tiny_source" not in sys.modules
    assert "tiny" not in registry.names("source")


def test_public_names() -> None:
    for name in edgekit.testing.__all__:
        assert getattr(edgekit.testing, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        edgekit.testing.no_such_name  # noqa: B018
