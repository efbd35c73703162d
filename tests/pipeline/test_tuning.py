"""Tuning on a runtime whose options make differences that no noise can hide."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import edgekit.api as api
from edgekit import registry
from edgekit.pipeline import tuning
from edgekit.pipeline.export import Export
from edgekit.plugin import Part, Payload, Tunable
from edgekit.result.measurement import Noise
from edgekit.result.report import Report, Tuning, Variant
from edgekit.testing import fake_plugin, install, installed
from tests.pipeline.choosing import candidate, measurement, plan, tried
from tests.testing.test_fake_export import model as model  # a fixture
from tests.wording import mentions

SLOW = '''
from dataclasses import dataclass

from edgekit.testing.fake import FakeOptions, NumpyBackend, NumpySession


@dataclass(frozen=True)
class Options(FakeOptions):
    repeat: int = 300
    wrong: bool = False


class Session(NumpySession):
    def __init__(self, payload):
        options = Options.from_dict(payload.options)
        self._wrong = options.wrong
        super().__init__(payload)
        self._repeat = options.repeat

    def run(self, feeds):
        return {name: -array if self._wrong else array for name, array in super().run(feeds).items()}


class Slow(NumpyBackend):
    """numpy that does its work 300 times over, until it is told otherwise."""

    name = "slow"
    options = Options

    def build(self, model, target, options, workdir):
        from dataclasses import replace

        built = super().build(model, target, {}, workdir)
        return replace(built, options=Options.from_dict(options).to_dict())

    def open(self, payload):
        from dataclasses import replace

        session = Session(replace(payload, options={}))
        options = Options.from_dict(payload.options)
        session._repeat, session._wrong = options.repeat, options.wrong
        return session

    def variants(self, payload, cores):
        return VARIANTS
'''

ONE = {"repeat": 1}
WRONG = {"repeat": 1, "wrong": True}
SLOWER = {"repeat": 900}
QUICK = {"repeat": 20}


@pytest.fixture
def export(model, tmp_path):
    """Export for a backend that offers the given variants."""

    def run(*variants: dict[str, object], target: str = "host", **project: object):
        folder = install(
            tmp_path / f"slow{len(list(tmp_path.iterdir()))}",
            "edgekit-slow",
            {"edgekit.backends": {"slow": "edgekit_slow:Slow"}},
            {"edgekit_slow.py": SLOW.replace("VARIANTS", repr(variants))},
        )
        with fake_plugin(), installed(folder):
            return api.export(
                model, target=target, data="data.csv", output=f"out{len(list(tmp_path.glob('out*')))}",
                candidates=["slow/fp32"], bench_seconds=0.5, **project,
            )  # fmt: skip

    return run


def test_faster_options_are_taken_and_travel_with_the_bundle(export):
    result = export(SLOWER, ONE)
    shipped = result.report.shipped
    slower, faster = shipped.tuning.variants
    assert (faster.options, faster.taken) == (ONE, True) and faster.speed > 2
    assert slower.speed < 1 and slower.reason == "no gain" and not slower.taken
    assert mentions(faster.reason, "faster", "noise", "outputs")
    assert result.bundle.payload.options["repeat"] == 1
    assert shipped.tuning.before.p50_ms > 2 * shipped.measurement.p50_ms
    raw = (result.bundle.path / shipped.measurement.raw_file).read_text().split()
    assert len(raw) == shipped.measurement.count, "the raw latencies are those of the options that ship"


def test_faster_options_that_compute_something_else_are_not_taken(export):
    result = export(WRONG)
    (wrong,) = result.report.shipped.tuning.variants
    assert not wrong.taken and mentions(wrong.reason, "outputs", "default")
    assert result.bundle.payload.options["repeat"] == 300


def test_where_the_fastest_fails_the_next_is_measured_at_length(export):
    result = export(WRONG, QUICK)
    wrong, quick = result.report.shipped.tuning.variants
    assert not wrong.taken and mentions(wrong.reason, "outputs")
    assert quick.taken and quick.speed > 2 and result.bundle.payload.options["repeat"] == QUICK["repeat"]


def test_options_that_are_not_taken_do_not_contradict_the_line():
    from edgekit.report import candidates as rows

    tries = (
        Variant({"threads": 1}, 2.38, "no gain beyond the noise"),
        Variant({"spin": False}, 1.5, tuning.UNCONFIRMED),
        Variant({"threads": 2}, 0.8, "no gain"),
    )
    shipped = candidate("a/fp32", "shipped")
    line = rows.options(replace(shipped, tuning=Tuning(tries, measurement())))
    assert mentions(line, "default", "2.38x (no gain beyond the noise)", "1.50x (faster in a short look")
    assert "is faster" not in line and "NOISY" not in line
    busy = Tuning(tries, measurement(), noise=("other processes took 71% of the processors",))
    assert mentions(rows.options(replace(shipped, tuning=busy)), "NOISY", "71%")
    assert Tuning.from_dict(busy.to_dict()) == busy


def test_what_disturbs_the_machine_while_options_are_compared_is_kept():
    quiet, busy = measurement(), replace(measurement(), noise=Noise(True, ("others took 71%",), 0.71))
    outcomes = [SimpleNamespace(measurement=each) for each in (quiet, None, busy)]
    assert tuning._noise(outcomes) == ("others took 71%",)
    assert tuning._noise(outcomes[:2]) == ()


def test_what_the_target_sets_is_left_alone(export, tmp_path):
    (tmp_path / "set.toml").write_text(
        'extends = "host"\nsummary = "set"\nbackends = ["slow"]\n[options.slow]\nrepeat = 200\n'
    )
    result = export(ONE, target="./set.toml")
    assert result.report.shipped.tuning is None
    assert result.bundle.payload.options["repeat"] == 200


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_our_runtimes_offer_variants_that_their_options_know(name, tmp_path):
    backend = registry.backend(name)
    assert isinstance(backend, Tunable)
    payload = Payload(tmp_path, ("model",), Part("model", "model", (), ()), backend.options().to_dict())
    for cores, threads in ((1, []), (2, [1]), (8, [4, 2, 1]), (6, [3, 2, 1])):
        offered = backend.variants(payload, cores)
        assert [change["threads"] for change in offered if "threads" in change] == threads
        for change in offered:
            backend.options.from_dict({**payload.options, **change})
    elsewhere = {"onnxruntime": {"provider": "CUDAExecutionProvider"}, "openvino": {"device": "GPU"}}[name]
    assert backend.variants(replace(payload, options={**payload.options, **elsewhere}), 8) == ()


@pytest.mark.parametrize("project", [{"bench_seconds": 0.2}, {"tune": False}])
def test_nothing_is_tuned_where_there_is_no_time_or_no_wish(project, tmp_path):
    shipped = tried(tmp_path, "onnxruntime/fp32")
    assert tuning.tune(Export(plan(**project), None, None, None, None), shipped) == (shipped, None)


def test_what_is_so_already_is_no_variant(tmp_path):
    shipped = tried(tmp_path, "onnxruntime/fp32")
    (part,) = shipped.compiled.parts
    part = replace(part, built=replace(part.built, options={"graph_level": "extended", "allow_spinning": True}))
    shipped = replace(shipped, compiled=replace(shipped.compiled, parts=(part,)))
    offered = tuning.variants(plan(), shipped)
    assert {"allow_spinning": False} in offered and {"graph_level": "extended"} not in offered


def test_options_in_words():
    taken = Variant({"threads": 1, "allow_spinning": False}, 1.1, "faster", taken=True)
    assert str(taken) == "allow_spinning off, threads 1"
    tuning = Tuning((taken,), measurement())
    assert tuning.taken is taken and Tuning.from_dict(tuning.to_dict()) == tuning
    assert Tuning((), measurement()).taken is None


def test_ratios_to_the_others_rest_on_the_run_that_they_shared(report_of):
    from edgekit.report import candidates, figures

    # 2 ms beside the others, 1.25 times as fast when tuned; the second run happened to be a quick one.
    report = report_of(before=2.0, speed=1.25, now=1.2)
    assert figures.reference_p50(report) == pytest.approx(1.6)
    shipped, other = candidates.rows(report)
    assert (shipped.ratio, other.ratio) == ("1.00x", "2.50x")
    assert candidates.options(report.shipped) == "threads 1 (1.25x as fast as the default)"


@pytest.fixture
def report_of():
    from pathlib import Path

    report = Report.load(Path(__file__).parent.parent / "fixtures" / "reports" / "minilm.json")

    def give(*, before: float, speed: float, now: float) -> Report:
        shipped, other = report.candidates[0], report.candidates[1]
        tuning = Tuning((Variant({"threads": 1}, speed, "faster", taken=True),), measurement(before))
        shipped = replace(shipped, measurement=measurement(now), tuning=tuning)
        return replace(report, candidates=(shipped, replace(other, measurement=measurement(4.0))))

    return give
