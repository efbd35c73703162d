"""The main job on the embedded model: export, prove, use, compare, and do it again from the cache."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle.bundle import Bundle
from edgekit.data import Draw
from edgekit.result.report import Report
from edgekit.target import target
from tests.wording import mentions

from .conftest import BRIEF, DATA

BF16 = {"avx512_bf16", "amx_bf16"}
README = Path(__file__).parent.parent.parent / "README.md"


# The report


def test_stdout_is_the_report_and_stderr_the_progress(digits):
    assert set(digits.finished.json) == {"bundle", "report"}
    assert Path(digits.finished.json["bundle"]) == digits.path
    assert "measure" in digits.finished.stderr


def test_every_candidate_of_the_target_is_in_the_report(digits):
    goal = target.load("host")
    wanted = {f"{backend}/{recipe}" for backend in goal.backends for recipe in goal.candidates[backend]}
    assert {candidate.name for candidate in digits.report.candidates} == wanted
    for candidate in digits.report.candidates:
        assert candidate.reason
        if candidate.status == "unsupported":
            bf16 = "bf16" in candidate.recipe and not BF16 & set(goal.device.isa)
            why = "bf16 needs" if bf16 else "dynamic int8 does not suit this graph"
            assert why in candidate.reason
            continue
        assert candidate.status in ("shipped", "passed", "failed-gate")
        assert candidate.size_mb > 0.1
        assert candidate.effective.main in ("f32", "bf16", "i8")
        assert candidate.quality.labelled == candidate.quality.samples == 500
        assert candidate.quality.metric == "accuracy"
        assert candidate.quality.original_score > 0.98
        assert candidate.measurement.percentiles_ms["p50"] > 0
        assert candidate.measurement.peak_memory_mb > 10
        assert candidate.measurement.cold_start.load_ms > 0


def test_the_shipped_one_passes_and_none_that_passes_is_clearly_faster(digits):
    shipped = digits.report.shipped
    assert shipped.quality.ok
    assert shipped.quality.drop <= 0.01
    passed = [c for c in digits.report.candidates if c.status == "passed"]
    fastest = min(passed, key=lambda candidate: candidate.measurement.percentiles_ms["p50"])
    # One that is as fast within the noise and closer to the original may be shipped instead, and names the other.
    tie = mentions(shipped.reason, fastest.name)
    assert tie or shipped.measurement.percentiles_ms["p50"] <= fastest.measurement.percentiles_ms["p50"], shipped.reason


def test_evidence_lineage_and_environment_are_told(digits):
    report = digits.report
    assert report.ok
    assert report.evidence == "measured_on_device"
    assert report.environment.host.arch
    assert {"torch", "transformers", "optimum", "onnxruntime", "openvino"} <= set(report.environment.packages)
    assert report.lineage[0].name == "export"
    for before, after in zip(report.lineage, report.lineage[1:], strict=False):
        assert before.after == after.before
    assert report.data.calibration_digest != report.data.evaluation_digest
    (note,) = report.notes
    assert "evaluation.npz' travel in the bundle" in note, "whose samples the bundle holds is said"


def test_nncf_is_tried_with_openvino(digits):
    candidates = {c.name: c for c in digits.report.candidates}
    assert "onnxruntime/int8-nncf" not in candidates
    tried = candidates["openvino/int8-nncf"]
    assert tried.quality.ok and tried.effective.main == "i8"
    assert tried.size_mb < 0.5 * candidates["openvino/fp32"].size_mb


def test_raw_latencies_are_kept_for_every_measured_candidate(digits):
    measured = [c for c in digits.report.candidates if c.measurement]
    assert len(measured) >= 4
    for candidate in measured:
        raw = np.loadtxt(digits.path / candidate.measurement.raw_file)
        assert len(raw) == candidate.measurement.count
        assert np.median(raw) / 1e6 == pytest.approx(candidate.measurement.percentiles_ms["p50"], rel=0.02)


# Again


def test_a_second_run_takes_all_but_the_measurement_from_the_cache(digits, command, tmp_path):
    for name in ("torch", "transformers", "optimum"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('blocked by the test')\n")
    again = command("export", "digits", "-o", tmp_path / "again", "--json", *BRIEF, env={"PYTHONPATH": str(tmp_path)})
    assert "measure" in again.stderr
    for step in ("loading", "exporting", "running the original", "building", "verifying", "(int8-static)"):
        assert step not in again.stderr, step
    first = {c.name: c.quality for c in digits.report.candidates}
    assert {c.name: c.quality for c in again.report.candidates} == first


def test_a_plan_is_a_project_file_that_does_what_it_says(digits, command, tmp_path):
    plan = command("export", "digits", "--dry-run", *BRIEF)
    (tmp_path / "plan.toml").write_text(plan.stdout)
    out = tmp_path / "planned"
    ran = command("export", "--project", tmp_path / "plan.toml", "-o", out, "--json")
    # What the plan knows to be impossible it leaves out; what only the graph tells is tried again.
    known = {c.name for c in digits.report.candidates if not (c.status == "unsupported" and "bf16" in c.reason)}
    assert {c.name for c in ran.report.candidates} == known
    assert ran.report.shipped.quality.ok
    compared = command("compare", out, digits.path, "--json").json
    assert len(compared["rows"]) == 2
    assert re.search(r"\d\.\d\dx", command("compare", out, digits.path).stdout)
    # The plan that travels in the bundle is that plan.
    assert tomllib_load(out / "plan.toml")["candidates"] == tomllib_load(tmp_path / "plan.toml")["candidates"]


def test_verify_draws_the_samples_that_the_export_drew(command, place, tmp_path):
    """One data set calibrates and evaluates: what calibrated must not be judged, and what evaluated must."""
    out, data = place / "out" / "split", DATA / "evaluation.npz"
    result = command(
        "export", "digits", "--data", data, "--max-samples", "300", "--candidate", "onnxruntime/int8-static",
        "--no-bench", "-o", out, "--json",
    )  # fmt: skip
    exported = result.report.shipped.quality
    assert result.report.data.evaluation_draw == Draw(calibration=100, most=300, seed=0, rule="systematic")
    verified = command("verify", out, "--data", data, "--max-drop", "0.01")
    assert verified.stdout.startswith("VERIFIED")
    words = " ".join(verified.stdout.split())  # wrapped as wide as the terminal is
    assert f"accuracy {exported.score:.4f} against {exported.original_score:.4f}" in words
    assert "on 300 labelled samples" in words and exported.reference in words
    other = ("verify", out, "--data", DATA / "calibration.npz")
    assert command(*other).stdout.startswith("NOT JUDGED")
    assert mentions(command(*other, "--max-drop", "0.01", code=2).stderr, "error:", "samples")
    failed = command("verify", out, "--data", data, "--max-samples", "300", "--max-drop", "0", code=None)
    assert failed.code == (5 if exported.drop > 0 else 0)
    assert exported.drop <= 0 or mentions(failed.stderr, ("hint:", "--max-drop"))


def test_a_plan_runs_from_any_folder(command, tmp_path):
    (tmp_path / "here").mkdir()
    np.savez(tmp_path / "here" / "data.npz", **np.load(DATA / "evaluation.npz"))
    plan = command("export", "digits", "--data", "data.npz", "-o", "out", "--dry-run", cwd=tmp_path / "here")
    (tmp_path / "plan.toml").write_text(plan.stdout)
    planned = tomllib_load(tmp_path / "plan.toml")
    here = {"data": str(tmp_path / "here" / "data.npz"), "output": str(tmp_path / "here" / "out"), "model": "digits"}
    assert here.items() <= planned.items()
    again = command("export", "--project", tmp_path / "plan.toml", "--dry-run", cwd=tmp_path)
    assert tomllib_load_text(again.stdout) == planned


def tomllib_load_text(text: str) -> dict:
    from edgekit._toml import tomllib

    return tomllib.loads(text)


def tomllib_load(path: Path) -> dict:
    return tomllib_load_text(path.read_text())


# The bundle


def test_run_reads_the_picture(digits, command):
    assert "7" in command("run", digits.path, DATA / "seven.png").stdout.split()
    assert command("run", digits.path, DATA / "seven.png", "--json").json["answer"]["label"] == "7"


def test_verify_holds_the_bundle_against_its_samples_and_against_data(digits, command):
    stored = Report.from_dict(command("verify", digits.path, "--json").json)
    assert stored.ok
    assert [check.name for check in stored.candidates[0].quality.checks] == ["stored samples"]
    labelled = Report.from_dict(command("verify", digits.path, "--data", DATA / "evaluation.npz", "--json").json)
    quality = labelled.candidates[0].quality
    assert quality.score == digits.report.shipped.quality.score
    assert quality.original_score == digits.report.shipped.quality.original_score
    assert [check.name for check in quality.checks] == ["stored samples", "accuracy drop"]


def test_bench_measures_the_bundle_again(digits, command):
    report = Report.from_dict(command("bench", digits.path, "--seconds", "0.3", "--profile", "--json").json)
    (candidate,) = report.candidates
    assert report.evidence == "measured_on_device"
    assert candidate.measurement.percentiles_ms["p50"] > 0
    assert candidate.effective.main == digits.report.shipped.effective.main
    assert candidate.layers


def test_inspect_says_what_it_is(digits, command):
    shipped = digits.report.shipped
    output = command("inspect", digits.path).stdout
    assert f"{shipped.backend}, recipe {shipped.recipe}" in output
    facts = command("inspect", digits.path, "--json").json
    assert facts["sound"]
    assert facts["manifest"]["effective"]["main"] == shipped.effective.main
    assert {file["path"] for file in facts["manifest"]["files"]} >= {"report.json", "report.md", "plan.toml"}


# The other ways in


def test_python_gives_typed_results(shared_cache, digits, tmp_path):
    result = edgekit.export(
        "digits", output=tmp_path / "out", candidates=("onnxruntime/fp32",), bench_seconds=0.3, tune=False
    )
    assert isinstance(result.report, Report)
    assert isinstance(result.bundle, Bundle)
    assert result.report.shipped.name == "onnxruntime/fp32"
    assert result.report.shipped.quality.drop == 0.0
    assert edgekit.verify(result.bundle.path).ok
    with result.bundle.session() as session:
        feeds, expected = result.bundle.samples()[0]
        np.testing.assert_allclose(session.run(feeds)["logits"], expected["logits"], rtol=1e-3, atol=1e-3)


BRIEFLY = """
import edgekit, functools
brief = {"bench_seconds": 0.3, "mixed": False, "tune": False, "candidates": ["onnxruntime/fp32"]}
edgekit.export = functools.partial(edgekit.export, **brief)
"""


def test_readme_python_runs(digits, common_cache, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert blocks
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", BRIEFLY + block],
            cwd=tmp_path,
            env={**os.environ, "EDGEKIT_CACHE_DIR": str(common_cache)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        if "print(" in block:
            assert re.match(r"\w+/[\w-]+ \d+\.\d+\n", done.stdout), done.stdout


def test_a_project_file_is_enough(digits, command, tmp_path):
    (tmp_path / "edgekit.toml").write_text(
        'model = "digits"\n\n[targets.host]\ncandidates = ["onnxruntime/fp32"]\nbench_seconds = 0.3\n\n'
        '[targets.raspberry-pi-5]\ncandidates = ["onnxruntime/int8-static"]\n'
    )
    here = command("export", "--json", cwd=tmp_path)
    assert [c.name for c in here.report.candidates] == ["onnxruntime/fp32"]
    assert (tmp_path / here.json["bundle"]).resolve() == (tmp_path / "out" / "digits-host").resolve()
    there = command("export", "--target", "raspberry-pi-5", "--dry-run", "--json", cwd=tmp_path).json
    assert [f"{c['backend']}/{c['recipe']['name']}" for c in there["candidates"]] == ["onnxruntime/int8-static"]
