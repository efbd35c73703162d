"""`edgekit compare` as users and pipelines call it: tables, the gate's exit codes, files, baselines, and a real run."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as xml

import numpy as np
import pytest

from edgekit.result.latency_block import LatencyBlock
from edgekit.result.report import Report
from tests.wording import mentions


def with_turns(report: Report, levels, spread: float = 0.01) -> Report:
    """Return the report with the shipped candidate's latencies around each of `levels`, in ms, one for each block."""
    turns = tuple(
        LatencyBlock(
            n, 20, 20 * level / 1e3, tuple(np.round(level * np.linspace(1 - spread, 1 + spread, 20), 5).tolist())
        )
        for n, level in enumerate(levels)
    )
    every = np.sort([value for turn in turns for value in turn.latencies_ms])
    measured = replace(
        report.shipped.measurement,
        turns=turns,
        count=20 * len(turns),
        percentiles_ms={"p50": float(every[len(every) // 2]), "p90": float(every[len(every) * 9 // 10])},
    )
    shipped = replace(report.shipped, measurement=measured)
    return replace(report, candidates=tuple(shipped if c.status == "shipped" else c for c in report.candidates))


@pytest.fixture
def files(report, tmp_path):
    """Write reports of a quiet machine: `old`, `new` a tenth slower, `same`; and `wild`, measured as it shook."""
    generator = np.random.default_rng(0)
    levels = {"old": 2.9 + 0.003 * generator.standard_normal(20), "same": 2.9 + 0.003 * generator.standard_normal(20)}
    levels |= {"new": 1.1 * levels["old"], "wild": 2.95 * np.exp(0.1 * generator.standard_normal(20))}
    for name, level in levels.items():
        with_turns(report, level).save(tmp_path / f"{name}.json")
    return {name: tmp_path / f"{name}.json" for name in levels}


def test_a_table_without_a_gate(run, files):
    result = run("compare", files["new"], files["old"])
    assert result.exit_code == 0 and "1.10x" in result.stdout and "Gate:" not in result.stdout
    assert run("compare", files["new"]).exit_code == 2


def test_the_exit_code_is_that_of_the_verdict(run, files):
    worse = run("compare", files["new"], files["old"], "--max-regress", "p50=5%", "--max-regress", "size=0")
    assert worse.exit_code == 6 and "p50 REGRESSED" in worse.stdout
    assert mentions(worse.stderr, "p50") and "size" not in worse.stderr
    fine = run("compare", files["same"], files["old"], "--max-regress", "p50=5%")
    assert fine.exit_code == 0 and "p50 not regressed" in fine.stdout and fine.stderr == ""
    unsure = run("compare", files["wild"], files["old"], "--max-regress", "p50=5%")
    assert unsure.exit_code == 0 and "CANNOT TELL" in unsure.stdout
    assert mentions(unsure.stderr, ("warning:", "p50"))
    strict = run("compare", files["wild"], files["old"], "--max-regress", "p50=5%", "--strict")
    assert strict.exit_code == 6 and mentions(strict.stderr, ("error:", "p50"), "--run")


@pytest.mark.parametrize("limit", ["1%", "0.01", "1pt"])
def test_a_drop_is_limited_as_in_an_export(run, files, limit):
    done = run("compare", files["same"], files["old"], "--max-regress", f"drop={limit}", "--json")
    assert [verdict["allowed"] for verdict in json.loads(done.stdout)["verdicts"]] == [0.01]


def test_json_has_the_verdicts(run, files):
    fine = json.loads(run("compare", files["same"], files["old"], "--max-regress", "p50=5%", "--json").stdout)
    assert [verdict["verdict"] for verdict in fine["verdicts"]] == ["not regressed"]
    worse = run("compare", files["new"], files["old"], "--max-regress", "p50=5%", "--json")
    facts = json.loads(worse.stdout)
    assert worse.exit_code == facts["exit_code"] == 6
    assert facts["report"]["verdicts"][0]["worse"] == pytest.approx(0.1, abs=0.005)
    assert facts["report"]["comparison"]["rows"][1]["ratios"]["p50"] == pytest.approx(1.1, abs=0.005)


def test_files_for_pipelines_are_written_also_when_it_fails(run, files, tmp_path):
    junit, page = tmp_path / "gate.xml", tmp_path / "gate.md"
    failed = run("compare", files["new"], files["old"], "--max-regress", "p50=5%", "--junit", junit, "--markdown", page)
    assert failed.exit_code == 6
    assert xml.parse(junit).find(".//failure") is not None
    assert page.read_text().startswith("### Regressed")
    printed = run("compare", files["same"], files["old"], "--max-regress", "p50=5%", "--markdown", "-")
    assert printed.stdout.startswith("### Not regressed") and "| report |" in printed.stdout


def test_a_baseline_from_a_report(run, files, tmp_path):
    base = tmp_path / "base.json"
    saved = run("compare", files["old"], "--save-baseline", base)
    assert saved.exit_code == 0 and saved.stdout == "" and str(base) in saved.stderr
    assert base.stat().st_size < 20_000
    assert run("compare", files["new"], base, "--max-regress", "p50=5%").exit_code == 6
    assert run("compare", files["same"], base, "--max-regress", "p50=5%").exit_code == 0


@pytest.mark.parametrize(
    ("args", "facts"),
    [
        (("--max-regress", "p50"), "'p50'"),
        (("--max-regress", "p9=5%"), ("'p9'", "'p90'")),
        (("--max-regress", "drop=1"), ["1 point", "100 points"]),
        (("--max-regress", "drop=0.3"), ["0.3 points", "0.3%", "30 points"]),
        (("--junit", "x.xml"), ["--junit", "--max-regress"]),
        (("--save-baseline", "base.txt"), "'base.txt'"),
        (("--save-baseline", "nowhere/base.json"), "nowhere"),
        (("--max-regress", "p50=5%", "--markdown", "nowhere/page.md"), "nowhere"),
        (("--max-regress", "p50=5%", "--junit", "nowhere/gate.xml"), "nowhere"),
    ],
)
def test_bad_options_are_refused(args, facts, run, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("compare", files["same"], files["old"], *args)
    assert result.exit_code == 2 and mentions(result.stderr, facts)


def test_bundles_are_measured_interleaved_and_judged(run, exported, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(exported.path, other)
    result = run(
        "compare", "--run", exported.path, other, "--seconds", "1", "--max-regress", "p50=400%", "--json", "-q"
    )
    facts = json.loads(result.stdout)
    assert result.exit_code == 0, result.stderr
    (verdict,) = facts["verdicts"]
    assert mentions(verdict["how"], "one run") and verdict["verdict"] == "not regressed"
    assert [row["source"] for row in facts["rows"]] == [str(other), str(exported.path)]
    assert run("compare", "--run", exported.path).exit_code == 2


def test_bench_saves_a_baseline(run, exported, tmp_path):
    base = tmp_path / "base.json"
    assert run("bench", exported.path, "--seconds", "0.5", "--save-baseline", base, "-q").exit_code == 0
    report = Report.load(base)
    assert report.candidates[0].measurement.turns and base.stat().st_size < 20_000
    assert run("bench", exported.path, exported.path, "--save-baseline", base).exit_code == 2
