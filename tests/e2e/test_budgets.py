"""Never slower, never larger than asked: what is refused, and what is shipped instead."""

from __future__ import annotations

import json
import re

import pytest

from edgekit.result.report import Report
from tests.wording import mentions

from .conftest import BRIEF

SLOW_IN_INT8 = '''
import torch


class Gates(torch.nn.Module):
    """A gain a channel and a leaky rectifier, again and again.

    In float the two are one pass over memory; in int8 they are two, and the second looks up each byte in a table.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gains = torch.nn.ModuleList(torch.nn.Conv2d(32, 32, 1, groups=32) for _ in range(12))

    def forward(self, x):
        for gain in self.gains:
            x = torch.nn.functional.leaky_relu(gain(x), 0.3)
        return x.mean(dim=(2, 3))


def net():
    return Gates().eval(), torch.zeros(1, 32, 64, 64)
'''


@pytest.fixture(scope="module")
def gates(tmp_path_factory):
    """Return a folder with a net that static int8 slows down, and data for it."""
    import numpy as np

    folder = tmp_path_factory.mktemp("gates")
    (folder / "gates.py").write_text(SLOW_IN_INT8)
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.standard_normal((40, 32, 64, 64), dtype=np.float32))
    return folder


PLAIN = ("--candidate", "onnxruntime/int8-static", "--candidate", "onnxruntime/fp32")
ARGUMENTS = ("export", "gates:net", "--data", "data.npz", "--backend", "onnxruntime", "--min-agreement", "0.5", *BRIEF)


@pytest.mark.alone
def test_int8_that_is_slower_is_refused_when_asked_for(gates, command):
    failed = command(*ARGUMENTS, "--recipe", "int8-static", "-o", "out/int8", "--json", cwd=gates, code=6)
    facts = failed.json
    assert mentions(facts["message"], "onnxruntime/int8-static", "slower")
    assert mentions(failed.stderr, ("hint:", "--recipe"))
    assert not (gates / "out" / "int8").exists()
    report = Report.load(gates / "out" / "int8.report.json")
    assert Report.from_dict(facts["report"]) == report
    candidates = {c.name: c for c in report.candidates}
    assert candidates["onnxruntime/int8-static"].status == "slower"
    assert candidates["onnxruntime/fp32"].status == "baseline"
    assert report.evidence == "measured_on_device"
    times = {name: c.measurement.percentiles_ms["p50"] for name, c in candidates.items()}
    assert times["onnxruntime/int8-static"] > 1.1 * times["onnxruntime/fp32"], "less could be noise"
    assert (gates / "out" / "int8.report.md").read_text()


@pytest.mark.alone
def test_the_same_without_a_recipe_ships_full_precision(gates, command):
    exported = command(*ARGUMENTS, "-o", "out/free", "--json", cwd=gates)
    assert exported.report.shipped.name == "onnxruntime/fp32"
    lost = next(c for c in exported.report.candidates if c.name == "onnxruntime/int8-static")
    assert lost.status == "passed"
    assert mentions(lost.reason, re.compile(r"\d\.\d+x .*onnxruntime/fp32"))


def test_a_latency_that_nothing_reaches(command, place):
    out = place / "out" / "hasty"
    unsuited = ("--candidate", "onnxruntime/int8-dynamic")
    failed = command(
        "export", "digits", "--max-latency-ms", "0.000001", *PLAIN, *unsuited, "-o", out, "--json", *BRIEF, code=6
    )
    assert not out.exists()
    report = Report.from_dict(json.loads(failed.stdout)["report"])
    assert out.with_name("hasty.report.md").is_file()
    command("export", "digits", "--no-bench", "--candidate", "onnxruntime/fp32", "-o", out)
    assert not list(out.parent.glob("hasty.report.*")), "the report of the failure went when the export passed"
    built = [c for c in report.candidates if c.measurement]
    assert len(built) == 2 and {c.status for c in built} == {"over-budget"}
    assert mentions(built[0].reason, ("p50", "1e-06 ms"))
    assert not report.ok and len(report.failures) == len(report.candidates)


def test_a_size_that_only_int8_keeps(command, place):
    exported = command(
        "export", "digits", "--max-size-mb", "0.5", "-o", place / "out" / "small", "--json", *BRIEF, *PLAIN,
    )  # fmt: skip
    assert exported.report.shipped.name == "onnxruntime/int8-static"
    assert exported.report.shipped.size_mb <= 0.5
    lost = next(c for c in exported.report.candidates if c.name == "onnxruntime/fp32")
    assert lost.status == "over-budget"
    assert mentions(lost.reason, "0.5 MB")


def test_a_size_that_nothing_keeps_is_told_before_any_speed(command, place):
    out = place / "out" / "tiny"
    failed = command("export", "digits", "--max-size-mb", "0.01", "--no-bench", *PLAIN, "-o", out, code=6)
    assert mentions(failed.stderr, "budget")
    assert (place / "out" / "tiny.report.json").is_file()


@pytest.mark.parametrize(
    ("limit", "what"),
    [("size_mb = 0.1", "0.1 MB"), ("memory_mb = 10", "peak memory"), ("latency_ms = 1e-6", "p50")],
)
def test_a_target_brings_budgets_of_its_own(limit, what, command, tmp_path):
    (tmp_path / "small.toml").write_text(f'extends = "host"\nsummary = "a small one"\n[limits]\n{limit}\n')
    failed = command(
        "export", "digits", "--target", tmp_path / "small.toml", "--candidate", "onnxruntime/fp32", "-o",
        tmp_path / "out", "--json", *BRIEF, code=6,
    )  # fmt: skip
    (candidate,) = Report.from_dict(failed.json["report"]).candidates
    assert candidate.status == "over-budget" and mentions(candidate.reason, what)


def test_a_latency_budget_that_nothing_checked_is_told(command, tmp_path):
    exported = command(
        "export", "digits", "--target", "raspberry-pi-5", "--candidate", "onnxruntime/fp32", "--max-latency-ms", "5",
        "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert any(mentions(note, "latency", "5 ms") for note in exported.report.notes)


def test_the_smallest_is_shipped_when_asked_for(command, place):
    exported = command(
        "export", "digits", "--objective", "size", *PLAIN, "-o", place / "out" / "smallest", "--json", *BRIEF
    )
    assert exported.report.objective == "size"
    assert exported.report.shipped.name == "onnxruntime/int8-static"
    assert mentions(exported.report.shipped.reason, "smallest")
    lost = next(c for c in exported.report.candidates if c.name == "onnxruntime/fp32")
    assert mentions(lost.reason, re.compile(r"\d\.\d+x .*size .*onnxruntime/int8-static"))


def test_the_leanest_is_shipped_when_asked_for(command, place):
    exported = command(
        "export", "digits", "--objective", "memory", "--candidate", "openvino/fp32", "--candidate", "onnxruntime/fp32",
        "-o", place / "out" / "leanest", "--json", *BRIEF,
    )  # fmt: skip
    memory = {c.name: c.measurement.peak_memory_mb for c in exported.report.candidates}
    # The two runtimes differ by tens of MB, far beyond the 2 % that count as equal.
    assert exported.report.shipped.name == min(memory, key=memory.get)
    assert mentions(exported.report.shipped.reason, "memory")


def test_throughput_is_measured_in_batches(command, place):
    out = place / "out" / "batches"
    exported = command("export", "digits", "--objective", "throughput", *PLAIN, "-o", out, "--json", *BRIEF)
    for candidate in exported.report.candidates:
        measured = candidate.measurement
        assert (measured.scenario, measured.batch) == ("offline", 8)
        assert measured.shapes["pixel_values"][0] == 8
        assert measured.throughput_per_s == pytest.approx(8 * measured.count / measured.seconds)
    shipped = exported.report.shipped
    rates = {c.name: c.measurement.throughput_per_s for c in exported.report.candidates}
    assert rates[shipped.name] > max(rates.values()) / 1.5, "no more than noise can make of a tie"
    command("verify", out)


def test_throughput_of_a_graph_with_a_fixed_batch_is_measured_one_by_one(command, place):
    exported = command(
        "export", "digits", "--objective", "throughput", "--shape", "batch=1", "--candidate", "onnxruntime/fp32", "-o",
        place / "out" / "singly", "--json", *BRIEF,
    )  # fmt: skip
    measured = exported.report.shipped.measurement
    assert (measured.scenario, measured.batch, measured.shapes["pixel_values"][0]) == ("single-stream", 1, 1)


def test_budgets_hold_together_and_the_nearest_miss_is_named(command, place):
    out = place / "out" / "tight"
    failed = command(
        "export", "digits", *PLAIN, "--max-size-mb", "0.2", "--max-memory-mb", "1", "-o", out, "--json", *BRIEF, code=6
    )
    report = Report.from_dict(failed.json["report"])
    for candidate in report.candidates:
        assert candidate.status == "over-budget"
        assert mentions(candidate.reason, ("0.2 MB", "peak memory", "1 MB"))
    nearest = min(report.candidates, key=lambda c: c.measurement.peak_memory_mb)
    assert f"nearest: {nearest.name}" in failed.json["message"]
    assert mentions(failed.stderr, ("hint:", "--max-size-mb", "--max-memory-mb"))


def test_memory_cannot_be_bounded_unmeasured(command, place):
    failed = command("export", "digits", "--max-memory-mb", "300", "--no-bench", code=2)
    assert mentions(failed.stderr, ("hint:", "--no-bench"))
