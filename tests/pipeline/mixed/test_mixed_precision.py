"""The stage as a whole, on real runtimes: what it pairs, that a mix is built, gated and reported, and when it is not
tried.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

import edgekit
from edgekit import catalog
from edgekit.pipeline import mixed_precision
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.project import Project
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.report import html, markdown, text
from edgekit.result.report import Candidate, Report
from tests.wording import mentions

from .conftest import LAYERS, small_net

BOTH = ("onnxruntime/int8-static", "onnxruntime/fp32")


def tried(name: str, *, made: Recipe | None = None, ok: bool = True, baseline: bool = False) -> Any:
    """Return a candidate of which only what pairs are found by is there."""
    backend, _, asked = name.partition("/")
    planned = PlannedCandidate(backend, made or catalog.recipe(asked), baseline=baseline)
    return SimpleNamespace(planned=planned, quality=SimpleNamespace(ok=ok))


def paired(*candidates: Any) -> list[tuple[str, str]]:
    return [(pair.quantized.planned.name, pair.in_float.planned.name) for pair in mixed_precision.pairs(candidates)]


def test_each_int8_is_paired_with_the_float_that_its_other_layers_run_in() -> None:
    names = ("a/int8-static-bf16", "a/int8-static", "a/bf16", "a/fp32", "b/int8-static", "b/fp32", "b/int8-dynamic")
    pairs = paired(*map(tried, names))
    assert pairs == [("a/int8-static-bf16", "a/bf16"), ("a/int8-static", "a/fp32"), ("b/int8-static", "b/fp32")]


def test_what_has_no_float_beside_it_is_not_mixed() -> None:
    assert paired(tried("a/int8-static"), tried("b/fp32")) == []
    assert paired(tried("a/int8-static"), tried("a/fp32", baseline=True)) == [("a/int8-static", "a/fp32")]


def test_a_recipe_that_names_layers_is_repeated_as_it_is() -> None:
    recipe = Recipe("again", "", (PassConfig("quantize-static", {"exclude": ["stem"]}),), "i8")
    assert paired(tried("a/again", made=recipe), tried("a/fp32")) == []


def test_of_several_that_differ_in_their_ranges_the_first_that_passes_stands_for_all() -> None:
    names = ("a/int8-static", "a/int8-mse", "a/int8-entropy", "a/fp32")
    pairs = paired(*(tried(name, ok=name != "a/int8-static") for name in names))
    assert pairs == [("a/int8-mse", "a/fp32")]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({}, True), ({"mixed": False}, False), ({"bench": False}, False), ({"objective": "size"}, False)],
)
def test_mixes_are_tried_where_times_are_measured_and_asked_for(changed: dict[str, Any], expected: bool) -> None:
    assert mixed_precision.wanted(SimpleNamespace(project=Project(**changed), mismatches=())) is expected
    assert not mixed_precision.wanted(SimpleNamespace(project=Project(**changed), mismatches=("another processor",)))


@pytest.fixture
def export(tmp_path: Path) -> Any:
    """Return a function that exports the small network with both candidates and returns the report."""
    onnx.save(small_net(), str(tmp_path / "net.onnx"))
    rng = np.random.default_rng(2)
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((12, 1, 3, 16, 16)).astype(np.float32))

    def run(**options: Any) -> Report:
        return edgekit.export(
            tmp_path / "net.onnx", data=tmp_path / "data.npz", output=tmp_path / "out", candidates=BOTH,
            bench_seconds=0.05, tune=False, min_agreement=0.5, force=True, **options,
        ).report  # fmt: skip

    return run


def named(report: Report) -> dict[str, Candidate]:
    return {candidate.name: candidate for candidate in report.candidates}


def test_every_layer_is_timed_in_both_and_the_report_holds_it(export: Any) -> None:
    record = named(export())["onnxruntime/int8-static"].mixed
    assert record is not None
    assert record.against == "onnxruntime/fp32"
    assert [layer.name for layer in record.layers] == list(LAYERS)
    assert all((layer.float_ms or 0) > 0 and (layer.int8_ms or 0) > 0 for layer in record.layers)
    assert any(layer.in_float for layer in record.layers) == (record.note == "")


def test_a_mix_that_wins_the_trial_is_gated_measured_and_shown(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # What decides is replaced, as times are this machine's; all that is decided about is real.
    monkeypatch.setattr(
        mixed_precision, "propose", lambda times: (frozenset({"stem"}), frozenset({"stem", "depthwise"}))
    )
    entries = iter((3.0, 2.0, 1.5, 1.0))
    monkeypatch.setattr(mixed_precision, "_p50_ms", lambda outcome: next(entries))
    report = export()
    candidates = named(report)
    assert list(candidates) == [*BOTH, "onnxruntime/int8-static-mixed"]
    mix, whole, plain = (candidates[name] for name in ("onnxruntime/int8-static-mixed", *BOTH))
    assert mix.quality is not None and mix.measurement is not None
    assert mix.quality.rel_l2 < (whole.quality.rel_l2 if whole.quality else 0.0)
    assert plain.mixed is None
    record = mix.mixed
    assert record is not None and record == whole.mixed
    assert [layer.name for layer in record.layers if layer.in_float] == ["stem", "depthwise"]
    assert (record.float_ms, record.int8_ms) == (3.0, 2.0)
    assert [(trial.layers_in_float, trial.p50_ms) for trial in record.trials] == [(1, 1.5), (2, 1.0)]
    assert mix.effective is not None and whole.effective is not None
    assert mix.effective.layers["f32"] > whole.effective.layers["f32"], "more runs in float"
    for page in (text.render(report), markdown.render(report), html.render(report)):
        assert mentions(" ".join(page.split()), ("2 stay in float", "mix"))
        assert "depthwise" in page
    assert Report.from_dict(report.to_dict()) == report


def test_a_mix_that_wins_nothing_stays_out_of_the_contest(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "propose", lambda times: (frozenset({"stem"}),))
    entries = iter((3.0, 2.0, 2.0))
    monkeypatch.setattr(mixed_precision, "_p50_ms", lambda outcome: next(entries))
    report = export()
    assert list(named(report)) == list(BOTH)
    record = named(report)["onnxruntime/int8-static"].mixed
    assert record is not None and mentions(record.note, "mix", "faster")
    assert "in the mix" not in text.render(report)


def test_no_mixed_switches_it_off(export: Any) -> None:
    report = export(mixed=False)
    assert [candidate.mixed for candidate in report.candidates] == [None, None]
