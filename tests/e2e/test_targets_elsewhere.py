"""Targets that this machine is not: what is built, what is claimed, and what is said."""

from __future__ import annotations

import json
import platform

import pytest

from edgekit.bundle.bundle import Manifest
from edgekit.result.report import Report
from edgekit.target import host, target
from tests.wording import mentions

from .conftest import BRIEF, Exported

BOTH = ("--candidate", "onnxruntime/int8-static", "--candidate", "onnxruntime/fp32")


@pytest.fixture(scope="module")
def board(command, place) -> Exported:
    """Export a bundle for a board that this machine surely is not."""
    if platform.machine() == "aarch64":
        pytest.skip("this machine could be the board")
    path = place / "out" / "digits-pi"
    return Exported(path, command("export", "digits", "--target", "raspberry-pi-5", "-o", path, "--json", *BOTH))


def test_what_follows_is_its_deployment(board, command):
    output = command("export", "digits", "--target", "raspberry-pi-5", "-o", board.path, "--force", *BOTH).stdout
    assert f"next:   edgekit deploy {board.path} --device ssh://" in output


def test_nothing_is_measured_and_no_precision_is_claimed(board):
    report = board.report
    assert report.evidence == "parsed"
    assert report.ok
    assert {c.name for c in report.candidates} == {"onnxruntime/int8-static", "onnxruntime/fp32"}
    for candidate in report.candidates:
        assert candidate.measurement is None
        assert candidate.effective is None
        assert candidate.quality.labelled == 500
    assert "not measured" in report.shipped.reason
    note, samples = report.notes
    assert "aarch64" in note and "edgekit bench" in note
    assert "travel in the bundle" in samples
    assert "measure" not in board.finished.stderr
    manifest = Manifest.from_dict(json_of(board, "manifest.json"))
    assert manifest.effective is None
    assert manifest.evidence == "parsed"
    assert [requires["arch"] for requires in manifest.requires] == ["aarch64"]


def json_of(board: Exported, name: str) -> dict:
    import json

    return json.loads((board.path / name).read_text())


def test_int8_is_of_the_kind_that_the_board_is_fast_on(board):
    config = next(c for c in board.report.lineage if c.name == "quantize-static").config
    assert config["activations"] == "s8"
    assert config["reduce_range"] is False


@pytest.mark.parametrize("verb", ["verify", "bench", "run"])
def test_the_bundle_refuses_to_open_here(board, command, verb, tmp_path):
    more = (tmp_path / "feeds.npz",) if verb == "run" else ()
    refused = command(verb, board.path, *more, code=8)
    assert mentions(refused.stderr, "'raspberry-pi-5'", ("aarch64", "x86_64"), ("hint:", "device"))
    assert refused.stdout == ""


def test_inspect_still_reads_it(board, command):
    output = command("inspect", board.path).stdout
    assert "raspberry-pi-5" in output
    assert "unknown (asked i8)" in output


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xeon", {"device": "CPU", "inference_precision": "bf16"}),
        pytest.param("intel-arc", {"device": "GPU", "inference_precision": "f16"}, marks=pytest.mark.nightly),
        ("intel-core-ultra", {"device": "NPU", "inference_precision": "f16"}),
    ],
)
def test_bundles_for_intel_compute_there_and_are_checked_here(name, options, command, place):
    """Whatever this machine has: the bundle is bound to the target's device, its outputs are looked at here."""
    goal = target.load(name)
    recipe = goal.candidates["openvino"][0]
    out = place / "out" / name
    exported = command(
        "export", "digits", "--target", name, "--candidate", f"openvino/{recipe}", "--max-samples", "100", "-o", out,
        "--json", *BRIEF,
    )  # fmt: skip
    shipped = exported.report.shipped
    assert shipped.quality.labelled == 100 and shipped.quality.drop <= 0.01
    (part,) = json.loads((out / "manifest.json").read_text())["parts"]
    assert {key: part["options"][key] for key in options} == options
    if goal.mismatches(host.probe()):
        assert exported.report.evidence == "parsed"
        assert shipped.measurement is None and shipped.effective is None


def test_what_is_measured_elsewhere_is_no_proof(command, place):
    """A bundle of another x86-64 processor may run here: what is measured is this machine."""
    if host.probe().arch != "x86_64":
        pytest.skip("the target is x86-64")
    goal = "x86-avx512-vnni" if "avx512_vnni" not in host.probe().isa else "x86-avx2"
    out = place / "out" / "elsewhere"
    command("export", "digits", "--target", goal, "--candidate", "openvino/fp32", "--max-samples", "100", "-o", out)
    report = Report.from_dict(command("bench", out, "--seconds", "0.2", "--json", code=None).json)
    assert report.evidence == "parsed"
    assert mentions(report.notes[0], f"'{goal}'")


def test_a_target_may_give_a_range_of_sizes(command, tmp_path):
    (tmp_path / "ranged.toml").write_text(
        'extends = "host"\nsummary = "batches"\n[shapes]\nbatch = { min = 1, opt = 2, max = 4 }\n'
    )
    exported = command(
        "export", "digits", "--target", tmp_path / "ranged.toml", "--candidate", "onnxruntime/fp32", "--no-bench",
        "--max-samples", "100", "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    (only,) = Manifest.from_dict(json.loads((tmp_path / "out" / "manifest.json").read_text())).parts
    assert only.part.inputs[0].shape[0] != 1
    assert exported.report.shipped.quality.ok


def test_a_target_without_a_backend_is_refused(command, tmp_path):
    (tmp_path / "bare.toml").write_text('summary = "nothing known"\n')
    failed = command("export", "digits", "--target", tmp_path / "bare.toml", "--dry-run", code=2)
    assert mentions(failed.stderr, "backend", ("hint:", "backends"))
