"""The gate: three verdicts, what it refuses to compare, what a verdict would take, and the formats for build
pipelines.
"""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as xml

import numpy as np
import pytest
from synthetic import Machine, measurement

from edgekit.errors import UsageError
from edgekit.regression import baseline, formatting, judge
from edgekit.report.compare import compare
from edgekit.result.measurement import ColdStart
from edgekit.result.report import Report
from tests.wording import mentions, raises

MACHINE = Machine(drift=0.01)


def measured(seed: int, *, slower: float = 0.0, turns: int = 40, run: int = 0):
    return MACHINE.measure(MACHINE.common(run, turns), seed, slower=slower)


def one(side, new, base, allowed: float, value: str = "p50", *, run: str | None = None):
    (verdict,) = judge((side("base", base, run), side("new", new, run)), {value: allowed})
    return verdict


def test_three_verdicts_in_one_run(side):
    new, base = measured(1, slower=0.05), measured(2)
    slower = one(side, new, base, 0.02, run="r")
    assert slower.verdict == "regressed" and slower.low > 0.02 and slower.worse == pytest.approx(0.05, abs=0.015)
    assert mentions(slower.how, "one run") and slower.count == 40 * 120 and slower.more is None
    assert one(side, new, base, 0.10, run="r").verdict == "not regressed"
    close = one(side, new, base, slower.worse - 0.002, run="r")
    assert close.verdict == "cannot tell" and close.low < close.allowed < close.high


def test_the_inferences_needed_fall_with_the_distance(side):
    new, base = measured(1, slower=0.05, turns=12), measured(2, turns=12)
    worse = one(side, new, base, 0.0, run="r").worse
    needed = [one(side, new, base, worse - far, run="r").more for far in (0.004, 0.008)]
    assert needed[0] > needed[1] > 0
    at = one(side, new, base, worse, run="r")
    assert at.more is None and mentions(at.reason, "limit")


def test_so_many_more_do_tell(side):
    seen = one(side, measured(1, slower=0.05, turns=20), measured(2, turns=20), 0.0, run="r")
    limit = seen.worse - 0.6 * (seen.worse - seen.low)
    unsure = one(side, measured(1, slower=0.05, turns=20), measured(2, turns=20), limit, run="r")
    assert unsure.verdict == "cannot tell"
    turns = -(-(unsure.count + unsure.more) // 120)
    regressed = 0
    for seed in range(3, 23, 2):
        new, base = measured(seed, slower=seen.worse, turns=turns, run=seed), measured(seed + 1, turns=turns, run=seed)
        regressed += one(side, new, base, limit, run=f"r{seed}").verdict == "regressed"
    assert regressed >= 7, "nine in ten are promised"


def test_two_runs_give_wider_intervals(side):
    new, base = measured(1, slower=0.05), measured(2, run=1)
    near, far = one(side, new, base, 0.03), one(side, measured(1, slower=0.5), base, 0.05)
    assert near.verdict == "cannot tell" and far.verdict == "regressed"
    assert near.how == far.how and mentions(near.how, "two runs")
    assert mentions(one(side, new, base, near.worse - 0.002).reason, "one run")


def test_throughput_and_a_faster_model(side):
    new, base = measured(1, slower=1.0), measured(2)
    verdict = one(side, new, base, 0.2, "throughput", run="r")
    assert verdict.verdict == "regressed" and verdict.worse == pytest.approx(0.5, abs=0.1)
    assert one(side, base, new, 0.0, "throughput", run="r").verdict == "not regressed"
    assert one(side, base, new, 0.0, "p90", run="r").worse < -0.3


def test_too_few_blocks_are_reported(side):
    few = one(side, measured(1, turns=4), measured(2, turns=4), 0.05, run="r")
    assert few.verdict == "cannot tell" and mentions(few.reason, re.compile(r"\b4 \w+")) and few.more == 4 * 120
    tail = measurement(np.full((10, 6), 0.2))
    short = one(side, tail, tail, 0.05, "p90", run="s")
    assert short.verdict == "cannot tell" and short.more == 4 and mentions(short.reason, ("p90", "64"))
    old = replace(measured(1), turns=())
    assert mentions(one(side, old, measured(2), 0.05).reason, "latencies")


def test_exact_values_are_compared_with_the_limit(side, report):
    base = side("base", measured(1))
    quality = report.shipped.quality
    new = side("new", replace(measured(1), peak_memory_mb=80.0))
    new = replace(new, candidate=replace(new.candidate, size_mb=24.0, quality=replace(
        quality, score=quality.score - 0.02, drop=quality.drop + 0.02)))  # fmt: skip
    verdicts = {f.value: f for f in judge((base, new), {"size": 0.05, "memory": 0.05, "accuracy": 0.01, "drop": 0.03})}
    assert {name: f.verdict for name, f in verdicts.items()} == {
        "size": "not regressed", "memory": "regressed", "score": "regressed", "drop": "not regressed"
    }  # fmt: skip
    assert verdicts["drop"].worse == pytest.approx(0.02) and mentions(
        formatting.line(verdicts["drop"]), ("2.00 points", "3 points")
    )


def test_one_start_each_shows_only_that_it_is_not_slower(side):
    fast, slow = (replace(measured(1), cold_start=ColdStart(ms, 1.0, 1.0)) for ms in (100.0, 200.0))
    assert one(side, fast, slow, 0.1, "cold-start").verdict == "not regressed"
    assert one(side, slow, fast, 0.1, "cold-start").verdict == "cannot tell"


def test_energy_is_as_uncertain_as_time(side):
    new, base = (replace(measured(1, slower=by), energy_j=1.0 + by) for by in (0.3, 0.0))
    verdict = one(side, new, base, 0.05, "energy", run="r")
    assert verdict.worse == pytest.approx(0.3) and verdict.verdict == "regressed"
    assert one(side, base, base, 0.5, "energy", run="s").verdict == "not regressed"


def with_environment(side_, **changes):
    environment = side_.report.environment
    host = replace(environment.host, **{n: v for n, v in changes.items() if n != "emulated"})
    report = replace(side_.report, environment=replace(environment, host=host, emulated=changes.get("emulated", False)))
    return replace(side_, report=report)


@pytest.mark.parametrize(
    ("changes", "words_"),
    [
        ({"emulated": True}, ["'new'", "emulator"]),
        ({"cpu": "Cortex-A72"}, ["'new'", "'base'", "processor: Cortex-A72"]),
        ({"cores": 64}, ["'new'", "'base'", ("cores", "64", "2")]),
        ({"board": "Raspberry Pi 4"}, ["'new'", "'base'", "board: Raspberry Pi 4"]),
    ],
)
def test_times_of_another_machine_are_refused(changes, words_, side):
    base, new = side("base", measured(1)), with_environment(side("new", measured(2)), **changes)
    with raises(UsageError, words_, hint="size, score and drop"):
        judge((base, new), {"p50": 0.05})
    assert judge((base, new), {"size": 0.05})[0].verdict == "not regressed", "bytes are bytes"


@pytest.mark.parametrize(
    ("changes", "words_"),
    [
        ({"scenario": "offline"}, ("scenario", "offline", "single-stream")),
        ({"batch": 8}, ("batch", "8", "1")),
        ({"shapes": {"x": (1, 3, 8, 8)}}, "x[1, 3, 8, 8]"),
    ],
)
def test_times_of_another_scenario_are_refused(changes, words_, side):
    base, new = side("base", measured(1)), side("new", replace(measured(2), **changes))
    with raises(UsageError, words_, hint="size, score and drop"):
        judge((base, new), {"p90": 0.05})


def test_scores_of_other_metrics_and_samples_are_refused(side):
    base, new = side("base", measured(1)), side("new", measured(2))
    other = replace(new.candidate, quality=replace(new.candidate.quality, metric="f1"))
    with raises(UsageError, ("'new'", "f1"), ("'base'", "spearman"), hint="--metric"):
        judge((base, replace(new, candidate=other)), {"score": 0.01})
    moved = replace(new, report=replace(new.report, data=replace(new.report.data, evaluation_digest="f" * 64)))
    with raises(UsageError, "'new'", "'base'", hint=("--data", "--seed")):
        judge((base, moved), {"score": 0.01})


def test_unknown_values_are_refused(side):
    sides = side("base", measured(1)), side("new", measured(2))
    with raises(UsageError, ("'p9'", "'p90'")):
        judge(sides, {"p9": 0.1})
    with raises(UsageError, "'new'", "energy", hint="edgekit bench"):
        judge(sides, {"energy": 0.1})


def test_a_baseline_is_small_and_judges_alike(side, tmp_path):
    long = MACHINE.measure(MACHINE.common(0, 300), 1)
    new, base = side("new", measured(3, slower=0.5)), side("base", long)
    path = tmp_path / "base.json"
    baseline(base).save(path)
    assert path.stat().st_size < 20_000
    loaded = Report.load(path)
    again = replace(base, report=loaded, candidate=loaded.shipped)
    limits = {"p50": 0.05, "p90": 0.05, "throughput": 0.05, "size": 0.0, "score": 0.0}
    assert judge((again, new), limits) == judge((base, new), limits)
    assert loaded.lineage == () and loaded.shipped.layers == ()


def test_what_was_not_measured_is_not_a_baseline(side):
    with raises(UsageError, "'base'", hint="edgekit bench base --save-baseline"):
        baseline(side("base", None))


@pytest.fixture
def mixed(side):
    """Return a comparison with a verdict of each kind."""
    base, new = side("base", measured(2), "r"), side("new|<&>", measured(1, slower=0.05), "r")
    close = judge((base, new), {"p50": 0.0})[0].worse
    return compare((base, new)), judge((base, new), {"p50": 0.02, "mean": 0.9, "p90": 0.2, "size": 0.0}) + judge(
        (base, new), {"p50": close}
    )


def test_words_give_the_numbers_and_the_outlook(mixed):
    _, comparison = mixed
    text = formatting.render(comparison)
    first, *rest = text.splitlines()[1:]
    assert "p50 REGRESSED: " in first and " against " in first and "2% allowed" in first and "between +" in first
    assert mentions(rest[0], "CANNOT TELL", "limit")
    assert all("not regressed" in line for line in rest[1:])


def test_markdown_for_a_pull_request(mixed):
    page = formatting.markdown(*mixed)
    assert page.startswith("### Regressed\n\n| result | value | verdict |")
    rows = [line for line in page.splitlines() if line.startswith("| new")]
    assert "new\\|\\<&amp;\\>" in rows[0] and "REGRESSED" in rows[0]
    assert "Baseline: base" in page


@pytest.mark.parametrize(("strict", "failures", "skipped"), [(False, 1, 1), (True, 2, 0)])
def test_junit(strict, failures, skipped, mixed):
    suite = xml.fromstring(formatting.junit(mixed[1], strict=strict)).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", str(failures), str(skipped))
    cases = suite.findall("testcase")
    assert cases[0].get("classname") == "new|<&>" and cases[0].get("name") == "p50 within 2%"
    assert cases[0].find("failure").get("type") == "regressed"
    assert len(suite.findall("testcase/failure")) == failures and len(suite.findall("testcase/skipped")) == skipped
