"""Whatever a backend raises costs its candidate: the export goes on with the others, and names it with the reason."""

from __future__ import annotations

import pytest

import edgekit.api as api
from edgekit import registry
from edgekit.errors import AccuracyFailure, BuildError, DeviceError, EdgekitError, UsageError
from edgekit.pipeline import blame
from edgekit.testing import fake_plugin, install, installed
from tests.testing.test_fake_export import model as model  # a fixture
from tests.wording import mentions, raises

BACKENDS = '''
from edgekit import errors
from edgekit.testing.fake import NumpyBackend, NumpySession


class VendorError(Exception):
    pass


def backend(where, error):
    """A backend whose method `where` raises `error`."""

    class Session(NumpySession):
        def run(self, feeds):
            if where == "run":
                raise error
            return super().run(feeds)

        def bind(self, feeds):
            if where == "bind":
                raise error
            return super().bind(feeds)

        @property
        def precision(self):
            if where == "precision":
                raise error
            return super().precision

    class Backend(NumpyBackend):
        name = where

        def supports(self, model, target):
            if where == "supports" and model.parts:
                raise error
            return super().supports(model, target)

        def build(self, model, target, options, workdir):
            if where == "build":
                raise error
            return super().build(model, target, options, workdir)

        def open(self, payload):
            if where == "open":
                raise error
            return Session(payload)

    return Backend


Supports = backend("supports", VendorError("no licence"))
Build = backend("build", errors.DeviceError("there is not enough memory to compile."))
Open = backend("open", errors.ArtifactError("'mlp.npz' has no tensor y.", hint="copy the bundle again"))
Run = backend("run", errors.UsageError("the model fails on these inputs", hint="check the inputs"))
Precision = backend("precision", KeyError("layers"))
Bind = backend("bind", VendorError("strings cannot be bound"))
'''

WHERE = ("supports", "build", "open", "run", "precision", "bind")


@pytest.fixture
def broken(tmp_path):
    entries = {name: f"edgekit_broken:{name.title()}" for name in WHERE}
    folder = install(
        tmp_path / "broken", "edgekit-broken", {"edgekit.backends": entries}, {"edgekit_broken.py": BACKENDS}
    )
    with fake_plugin(), installed(folder):
        yield


def exported(model: str, *candidates: str, **project: object):
    return api.export(model, data="data.csv", output="out", candidates=candidates, **{"bench": False, **project})


def test_the_others_go_on_and_the_broken_ones_are_named(broken, model):
    names = [f"{name}/fp32" for name in WHERE if name != "bind"]
    result = exported(model, *names, "numpy/fp32")
    assert result.report.shipped.name == "numpy/fp32"
    reasons = {c.name: c.reason for c in result.report.candidates if c.status == "build-failed"}
    assert sorted(reasons) == sorted(names)
    for name, facts in (
        ("supports", ("VendorError", "no licence")),
        ("build", "enough memory"),
        ("open", ("open", "no tensor y")),
        ("run", ("sample", "fails on these inputs")),
        ("precision", ("KeyError", "layers")),
    ):
        assert mentions(reasons[f"{name}/fp32"], name, facts)


@pytest.mark.parametrize("error", [IndexError("no such axis\nwith a second line"), MemoryError(), ZeroDivisionError()])
def test_a_pass_that_breaks_costs_its_candidates(model, monkeypatch, error):
    def broken(*_):
        raise error

    with fake_plugin():
        monkeypatch.setattr(registry.pass_type("fake-round"), "apply", broken)
        result = exported(model, "numpy/round8.toml", "numpy/fp32")
        assert result.report.shipped.name == "numpy/fp32"
        (lost,) = (c for c in result.report.candidates if c.name == "numpy/round8")
        assert lost.status == "build-failed"
        assert mentions(lost.reason, "fake-round", "edgekit-fake", type(error).__name__)
        assert "second line" not in lost.reason


def test_where_none_is_left_the_broken_pass_and_its_package_are_named():
    expected = raises(BuildError, "quantize-static", "edgekit", "KeyError", hint="recipe without this pass")
    with expected as caught, blame.blamed_pass("quantize-static"):
        raise KeyError("scale")
    assert isinstance(caught.value.__cause__, KeyError)


def test_what_cannot_be_bound_is_lost_and_the_rest_is_measured(broken, model):
    result = exported(model, "bind/fp32", "numpy/fp32", bench=True, bench_seconds=0.1, tune=False)
    assert result.report.shipped.name == "numpy/fp32" and result.report.shipped.measurement
    (lost,) = (c for c in result.report.candidates if c.name == "bind/fp32")
    assert lost.status == "build-failed" and mentions(lost.reason, "bound")


@pytest.mark.parametrize(
    ("names", "kind", "facts"),
    [
        (("build",), DeviceError, ["memory"]),
        (("open",), BuildError, ["no tensor y"]),
        (("run",), BuildError, ["fails on these inputs"]),
        (("supports", "run"), BuildError, ["supports/fp32", "run/fp32", "no licence"]),
    ],
)
def test_where_none_is_left_the_error_is_that_of_the_cause(broken, model, names, kind, facts):
    with pytest.raises(EdgekitError) as caught:
        exported(model, *(f"{name}/fp32" for name in names))
    assert type(caught.value) is kind and mentions(caught.value.message, *facts)
    assert "--max-drop" not in (caught.value.hint or "") and "bundle again" not in (caught.value.hint or "")


def test_where_none_could_be_measured_no_loss_is_offered(broken, model):
    with raises(BuildError, "bind/fp32", "measured", "bound", hint="--no-bench"):
        exported(model, "bind/fp32", bench=True, bench_seconds=0.1)
    assert exported(model, "bind/fp32").report.shipped.name == "bind/fp32", "the hint works"


def test_beside_a_broken_candidate_more_loss_is_no_advice(broken, model):
    with pytest.raises(AccuracyFailure) as caught:
        exported(model, "run/fp32", "numpy/round2.toml")
    assert mentions(caught.value.message, "numpy/round2", "run/fp32", "fails on these inputs")
    assert "--max-drop" not in caught.value.hint and "run/fp32" in caught.value.hint


def test_a_wrong_option_stays_the_users(broken, model, tmp_path):
    (tmp_path / "set.toml").write_text(
        'extends = "host"\nsummary = "set"\nbackends = ["numpy"]\n[options.numpy]\nrepeatt = 2\n'
    )
    with raises(UsageError, "'repeatt'"):
        exported(model, "numpy/fp32", target="./set.toml")
