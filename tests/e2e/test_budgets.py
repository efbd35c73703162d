"""Never slower, never larger than asked: what is refused, and what is shipped instead."""

from __future__ import annotations

import json

import pytest

from edgekit.result import Report

from .conftest import BRIEF

SLOW_IN_INT8 = '''
import torch


class Waves(torch.nn.Module):
    """A convolution of one channel between sines, which have no integer kernel: Q/DQ only adds to its work."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(1, 1, 1) for _ in range(24))

    def forward(self, x):
        for conv in self.convs:
            x = torch.sin(conv(x)) + x
        return x.mean(dim=(2, 3))


def net():
    return Waves().eval(), torch.zeros(1, 1, 64, 64)
'''


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """Give a folder with a net that static int8 slows down, and data for it."""
    import numpy as np

    folder = tmp_path_factory.mktemp("waves")
    (folder / "waves.py").write_text(SLOW_IN_INT8)
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.standard_normal((40, 1, 64, 64), dtype=np.float32))
    return folder


ARGUMENTS = ("export", "waves:net", "--data", "data.npz", "--backend", "onnxruntime", "--min-agreement", "0.5", *BRIEF)


def test_int8_that_is_slower_is_refused_when_asked_for(waves, command):
    failed = command(*ARGUMENTS, "--recipe", "int8-static", "-o", "out/int8", "--json", cwd=waves, code=6)
    facts = failed.json
    assert "is slower than full precision here and is not shipped" in facts["message"]
    assert "leave out --recipe" in failed.stderr
    assert not (waves / "out" / "int8").exists()
    report = Report.load(waves / "out" / "int8.report.json")
    assert Report.from_dict(facts["report"]) == report
    found = {c.name: c for c in report.candidates}
    assert found["onnxruntime/int8-static"].status == "slower"
    assert found["onnxruntime/fp32"].status == "baseline"
    assert report.evidence == "measured_on_device"
    times = {name: c.measurement.percentiles_ms["p50"] for name, c in found.items()}
    assert times["onnxruntime/int8-static"] > 1.3 * times["onnxruntime/fp32"]
    assert (waves / "out" / "int8.report.md").read_text()


def test_the_same_without_a_recipe_ships_full_precision(waves, command):
    made = command(*ARGUMENTS, "-o", "out/free", "--json", cwd=waves)
    assert made.report.shipped.name == "onnxruntime/fp32"
    lost = next(c for c in made.report.candidates if c.name == "onnxruntime/int8-static")
    assert lost.status == "passed"
    assert "x the time of onnxruntime/fp32" in lost.reason


def test_a_latency_that_nothing_reaches(digits, command, place):
    out = place / "out" / "hasty"
    failed = command("export", "digits", "--max-latency-ms", "0.000001", "-o", out, "--json", *BRIEF, code=6)
    assert not out.exists()
    report = Report.from_dict(json.loads(failed.stdout)["report"])
    built = [c for c in report.candidates if c.measurement]
    assert built and {c.status for c in built} == {"over-budget"}
    assert "p50" in built[0].reason and "at most 1e-06 ms allowed" in built[0].reason
    assert not report.ok and len(report.failures) == len(report.candidates)


def test_a_size_that_only_int8_keeps(digits, command, place):
    made = command(
        "export", "digits", "--max-size-mb", "0.5", "-o", place / "out" / "small", "--json", *BRIEF,
        "--candidate", "onnxruntime/int8-static", "--candidate", "onnxruntime/fp32",
    )  # fmt: skip
    assert made.report.shipped.name == "onnxruntime/int8-static"
    assert made.report.shipped.size_mb <= 0.5
    lost = next(c for c in made.report.candidates if c.name == "onnxruntime/fp32")
    assert lost.status == "over-budget"
    assert "at most 0.5 MB allowed" in lost.reason


def test_a_size_that_nothing_keeps_is_told_before_any_speed(digits, command, place):
    out = place / "out" / "tiny"
    failed = command("export", "digits", "--max-size-mb", "0.01", "--no-bench", "-o", out, code=6)
    assert "no candidate that keeps the quality is within the budget" in failed.stderr
    assert (place / "out" / "tiny.report.json").is_file()
