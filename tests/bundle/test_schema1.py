"""Bundles, reports and baselines that were written before schema 2 still open, run, finish and compare."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import finish
from edgekit.bundle.bundle import check_files, unmet_requirements
from edgekit.bundle.bundle import open as open_bundle
from edgekit.errors import ArtifactError
from edgekit.result.report import Report
from edgekit.testing import fake_plugin
from tests.wording import raises

KEPT = Path(__file__).parent.parent / "fixtures" / "schema1"
EVALUATION = Path(edgekit.__file__).parent / "embedded" / "digits" / "data" / "evaluation.npz"

needs_its_machine = pytest.mark.skipif(
    bool(unmet_requirements(open_bundle(KEPT / "digits-host", check=False).manifest.requires)),
    reason="digits-host was exported for x86-64 and ONNX Runtime",
)


@pytest.mark.parametrize("name", ["digits-host", "digits-jetson", "portable", "finished"])
def test_its_files_are_sound(name: str) -> None:
    with fake_plugin():
        bundle = open_bundle(KEPT / name, check=False)
        check_files(bundle.path, bundle.manifest)
    assert bundle.report().artifact == bundle.manifest.digest
    assert bundle.samples()


@needs_its_machine
def test_it_runs_as_it_did() -> None:
    with edgekit.open(KEPT / "digits-host").session() as session:
        for feeds, outputs in edgekit.open(KEPT / "digits-host").samples():
            assert np.allclose(session.run(feeds)["logits"], outputs["logits"], atol=0.05)


@needs_its_machine
def test_it_is_verified_on_the_samples_that_it_was_exported_with() -> None:
    report = edgekit.verify(KEPT / "digits-host", data=EVALUATION, max_drop=0.01)
    assert report.ok
    quality = report.candidates[0].quality
    assert quality is not None and quality.labelled == 100 and quality.original_score is not None


def test_a_portable_one_waits_for_its_device() -> None:
    with raises(ArtifactError, "portable", hint="edgekit finish"):
        open_bundle(KEPT / "digits-jetson", check=False).session()


@pytest.mark.parametrize("name", ["portable", "finished"])
def test_it_is_finished(name: str, tmp_path: Path) -> None:
    path = shutil.copytree(KEPT / name, tmp_path / name)
    with fake_plugin():
        before = open_bundle(path).manifest
        report = finish.finish(path)
        manifest = open_bundle(path).manifest
    assert report.ok and not manifest.portable
    assert manifest.prepared is not None
    assert manifest.prepared.digest == (before.prepared.digest if before.prepared else before.digest)


def test_reports_and_baselines_are_read() -> None:
    exported = Report.load(KEPT / "digits-host")
    assert exported.ok and exported.shipped is not None and exported.shipped.measurement is not None
    failed = Report.load(KEPT / "failed-gate.report.json")
    assert not failed.ok and [candidate.status for candidate in failed.candidates].count("failed-gate") == 1
    for name in ("baseline.json", "bench.json"):
        assert Report.load(KEPT / name).candidates[0].measurement is not None


def command(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgekit.cli", *map(str, args)], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["digits-host", "digits-jetson"])
def test_it_is_inspected(name: str) -> None:
    shown = command("inspect", KEPT / name)
    assert shown.returncode == 0, shown.stderr
    for fact in ("pixel_values:f32[1,3,64,64]", "logits:f32[1,10]", "model/model.onnx"):
        assert fact in shown.stdout


@pytest.mark.parametrize("other", ["baseline.json", "bench.json"])
def test_it_is_compared(other: str) -> None:
    compared = command("compare", KEPT / "digits-host", KEPT / other)
    assert compared.returncode == 0, compared.stderr
    gated = command("compare", KEPT / "digits-host", KEPT / "baseline.json", "--max-regress", "size=1%")
    assert gated.returncode == 0, gated.stderr
