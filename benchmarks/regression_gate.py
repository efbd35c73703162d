"""How often the gate on regressions is wrong: equal bundles that it calls slower, and slower ones that it misses.

    python benchmarks/regression_gate.py BUNDLE [--pairs 200] [--seconds 1] [--threads 1] [--core 0]

Each trial starts three processes and measures them by turns, as `edgekit compare --run` does: the bundle twice, and the
bundle with a wait after each inference that makes it slower by 5 % (`slowed.py`; the wait is calibrated by
measurement and measured again over all trials). The first two are an A/A pair, the first and the third a true slowdown.
Each pair is judged as `edgekit compare --max-regress` judges it, against several limits.

A call measures for at most `--chunk-seconds` and adds to the trials in the work folder; call it again until it has all.
Every call writes the table of what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.bench import Entry, Outcome, Settings, benchmark, environment
from edgekit.bundle import bundle as artifact
from edgekit.regression import judge
from edgekit.regression.bootstrap import CONFIDENCE
from edgekit.report.compare import Side
from edgekit.result.measurement import Measurement
from edgekit.result.report import Candidate, Environment, Report

HERE = Path(__file__).parent
SLOWER = 0.05
LIMITS = (0.0, 0.01, 0.02, 0.03)
VALUES = ("p50", "p90")
VERDICTS = ("regressed", "cannot tell", "not regressed")
NAMES = ("a", "equal", "slower")


def measure(bundle: artifact.Bundle, wait_ns: int, arguments: argparse.Namespace, seconds: float) -> list[Outcome]:
    """Measure the bundle twice and its slowed twin once, by turns, in fresh processes."""
    options = {**bundle.payload.options} | ({"threads": arguments.threads} if arguments.threads else {})
    slowed = {**options, "slowed_backend": bundle.manifest.backend, "slowed_by_ns": wait_ns}
    own, slow = replace(bundle.payload, options=options), replace(bundle.payload, options=slowed)
    feeds, backend = bundle.samples()[0][0], bundle.manifest.backend
    entries = [
        Entry("a", backend, own, feeds),
        Entry("equal", backend, own, feeds),
        Entry("slower", "slowed:Slowed", slow, feeds),
    ]
    settings = Settings(
        min_seconds=seconds,
        max_seconds=max(30.0, seconds),
        round_ms=arguments.round_ms,
        lead_in_ms=arguments.round_ms / 5,
        warmup_min_seconds=0.2,
        warmup_max_seconds=0.3,
    )
    outcomes = benchmark(entries, settings)
    for outcome in outcomes:
        if outcome.fault is not None:
            raise outcome.fault
    return outcomes


def calibrate(bundle: artifact.Bundle, arguments: argparse.Namespace) -> int:
    """Find the wait that makes the median of a long run 5 % longer, by secant steps from a first guess."""
    wait = 0
    for seconds in (2.0, 4.0, 6.0):
        a, equal, slower = (outcome.rounds for outcome in measure(bundle, wait, arguments, seconds))
        base = np.median([turn.median_ns for turn in (*a, *equal)])
        turns = zip(slower, a, equal, strict=False)  # one may have had a turn more
        extra = np.median([2 * s.median_ns / (x.median_ns + y.median_ns) for s, x, y in turns]) - 1
        wait = max(0, round(wait + (SLOWER - extra) * base))
        print(f"calibrating: {100 * extra:.2f} % slower; now a wait of {wait} ns on {base / 1e6:.4f} ms", flush=True)
    return wait


def sides(trial: dict[str, Any], other: str) -> tuple[Side, Side]:
    measurements = {name: Measurement.from_dict(trial[name]) for name in ("a", other)}
    candidates = {
        name: Candidate(name, "", "", "passed", "", measurement=measurement)
        for name, measurement in measurements.items()
    }
    environment = Environment.from_dict(trial["environment"])
    report = Report("bench", "", None, "host", "measured_on_device", environment, tuple(candidates.values()))
    return Side("a", report, candidates["a"]), Side(other, report, candidates[other])


def table(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Judge every pair against every limit, and count the verdicts."""
    rows = []
    for value in VALUES:
        for limit in LIMITS:
            for other in NAMES[1:]:
                judgements = [judge(sides(trial, other), {value: limit})[0] for trial in trials]
                measured = [judgement for judgement in judgements if judgement.worse is not None]
                more = sorted(judgement.more for judgement in judgements if judgement.more is not None)
                rows.append(
                    {
                        "value": value,
                        "limit": limit,
                        "pair": other,
                        **{word: sum(judgement.verdict == word for judgement in judgements) for word in VERDICTS},
                        "median_change": float(np.median([judgement.worse for judgement in measured])),
                        "median_half_width": float(
                            np.median([(judgement.high - judgement.low) / 2 for judgement in measured])
                        ),
                        "median_more": more[len(more) // 2] if more else None,
                    }
                )
    return {"rows": rows, **samples(trials)}


def samples(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = [trial[name]["count"] for trial in trials for name in NAMES]
    seconds = [trial[name]["seconds"] for trial in trials for name in NAMES]
    return {
        "trials": len(trials),
        "median_count": int(np.median(counts)),
        "median_seconds": round(float(np.median(seconds)), 3),
        "median_p50_ms": float(np.median([trial["a"]["percentiles_ms"]["p50"] for trial in trials])),
        "noisy_trials": sum(any(trial[name]["noise"]["noisy"] for name in NAMES) for trial in trials),
    }


def render(results: dict[str, Any], facts: dict[str, Any]) -> str:
    host, packages = facts["environment"]["host"], facts["environment"]["packages"]
    machine = f"{host['cores']} cores of {host['cpu']}{', virtual' if host['virtual'] else ''}"
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    header = ("value", "limit", "pair", "change, median", "half of the range, median", *VERDICTS)
    lines = [
        "# How often the gate on regressions is wrong",
        "",
        f"{results['trials']} trials with the bundle `{facts['bundle']}` ({facts['recipe']} on {facts['backend']}) on",
        f"{machine}; threads: {facts['threads'] or 'its own choice'}; {versions};",
        f"{facts['environment']['created'][:10]}.",
        "",
        f"Each trial is three fresh processes by turns of {facts['round_ms']:g} ms: the bundle; the same again",
        f"(equal); the same with a wait of {facts['wait_ns']} ns after each inference (slower). On each side",
        f"{results['median_count']} inferences of {results['median_p50_ms']:.3f} ms (p50) in",
        f"{results['median_seconds']:g} s, the median over trials.",
        f"In {results['noisy_trials']} of the trials something else used the processor; none is left out.",
        "",
        "The gate is that of `edgekit compare --run NEW BASE --max-regress VALUE=LIMIT`, with a one-sided confidence",
        f"of {100 * CONFIDENCE:g} %.",
        "",
        f"| {' | '.join(header)} |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        shares = [f"{row[word]} ({100 * row[word] / results['trials']:.1f} %)" for word in VERDICTS]
        change, half = f"{100 * row['median_change']:+.2f} %", f"{100 * row['median_half_width']:.2f} %"
        cells = (row["value"], f"{100 * row['limit']:g} %", row["pair"], change, half, *shares)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "`regressed` on an equal pair is a false alarm; anything else on a slower pair is a slowdown that was missed.",
        "",
        f"    python benchmarks/regression_gate.py {facts['command']}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--round-ms", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, help="run on this processor only")
    parser.add_argument("--chunk-seconds", type=float, default=280.0)
    parser.add_argument(
        "--work", type=Path, default=Path(os.environ.get("EDGEKIT_BENCH_DIR", HERE / ".work")) / "regression-gate"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results" / "regression-gate")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.chunk_seconds
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})  # which the measuring processes inherit
    arguments.work.mkdir(parents=True, exist_ok=True)
    bundle = artifact.open(arguments.bundle)
    calibration, raw = arguments.work / "calibration.json", arguments.work / "trials.jsonl"
    if not calibration.exists():
        calibration.write_text(json.dumps({"wait_ns": calibrate(bundle, arguments)}))
    wait_ns = json.loads(calibration.read_text())["wait_ns"]
    trials = [json.loads(line) for line in raw.read_text().splitlines()] if raw.exists() else []
    here = environment(("edgekit", "numpy", bundle.manifest.backend)).to_dict()
    while len(trials) < arguments.pairs and time.monotonic() < end:
        outcomes = measure(bundle, wait_ns, arguments, arguments.seconds)
        trial = {"environment": here, **{o.name: o.measurement.to_dict() for o in outcomes if o.measurement}}
        with raw.open("a") as file:
            file.write(json.dumps(trial) + "\n")
        trials.append(trial)
        print(len(trials), {name: trial[name]["percentiles_ms"]["p50"] for name in NAMES}, flush=True)
    if not trials:
        return
    facts = {
        "bundle": bundle.manifest.name,
        "recipe": bundle.manifest.recipe,
        "backend": bundle.manifest.backend,
        "threads": arguments.threads,
        "round_ms": arguments.round_ms,
        "wait_ns": wait_ns,
        "environment": trials[-1]["environment"],
        "command": f"BUNDLE --pairs {arguments.pairs} --seconds {arguments.seconds:g} --threads {arguments.threads}"
        + ("" if arguments.core is None else f" --core {arguments.core}"),
    }
    judged = table(trials)
    page = render(judged, facts)
    arguments.output.with_suffix(".md").write_text(page)
    arguments.output.with_suffix(".json").write_text(json.dumps({**facts, **judged}, indent=1) + "\n")
    print(page)


if __name__ == "__main__":
    main()
