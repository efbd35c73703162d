"""Compare our clock with others' on the same model: do edgekit, a bare loop, benchmark_app and MLPerf LoadGen agree?

    pip install mlcommons-loadgen
    python benchmarks/clocks.py BUNDLE [--cycles 15] [--seconds 2] [--output benchmarks/results/clocks]

BUNDLE is one of the backend `onnxruntime` or `openvino`. Every contender is a process of its own with the same threads
and precision, and they take turns, the others stopped; each gives the p50 and p90 of its turn. The ratio of ours to
theirs is the median over the turns' pairs, with its 95 % bootstrap interval. onnxruntime's wheels hold no perf test, so
that a bare loop over its own API stands for it. A run that was stopped goes on where it was, with the same --output.

- `bare loop`: the runtime's own API on bound inputs and outputs, timed by `time.perf_counter_ns`; no edgekit.
- `LoadGen`: MLPerf's SingleStream, its clock in C++, calling edgekit's bound call.
- `benchmark_app`: from OpenVINO's wheel, its clock in C++ inside the runtime; a process for each number of each turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.bench import Worker, environment
from edgekit.bench.percentile import percentiles_ms
from edgekit.bundle import bundle as artifact

NAMES = ("p50", "p90")
WITHIN = 0.03
"""How far the median ratio may be from 1."""
PACKAGES = ("onnxruntime", "openvino", "mlcommons-loadgen")
Turn = Callable[[float], dict[str, float]]


class Child:
    """A contender in a process of its own (`clocks_child.py`), stopped while it is another's turn."""

    def __init__(self, role: str, bundle: Path) -> None:
        script = Path(__file__).with_name("clocks_child.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), role, str(bundle)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.turn(0.5)  # loads and warms
        self.process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def __call__(self, seconds: float) -> dict[str, float]:
        self.process.send_signal(signal.SIGCONT)
        percentiles = self.turn(seconds)
        self.process.send_signal(signal.SIGSTOP)
        return percentiles

    def turn(self, seconds: float) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a contender died; its last words are above")
        return dict(json.loads(line))


def ours(stack: ExitStack, bundle: artifact.Bundle) -> Turn:
    """Return edgekit's turn: a measuring process, as `edgekit bench` drives it."""
    worker = stack.enter_context(Worker(bundle.manifest.backend))
    worker.open(bundle.payload, bundle.samples()[0][0])
    worker.warm(min_seconds=0.5, max_seconds=10)
    worker.pause()
    done = 0

    def turn(seconds: float) -> dict[str, float]:
        nonlocal done
        worker.resume()
        worker.round(1e3 * seconds, lead_in_ms=20)
        worker.pause()
        latencies = worker.latencies_ns()[done:]
        done += len(latencies)
        percentiles = percentiles_ms(latencies)
        if "p90" not in percentiles:
            raise SystemExit(f"{len(latencies)} inferences in {seconds:g} s do not tell a p90: give more --seconds")
        return {**percentiles, "count": len(latencies)}

    return turn


def benchmark_app(bundle: artifact.Bundle, threads: int) -> Turn:
    """Return benchmark_app's turn: it tells one percentile a run."""
    asked = bundle.payload.options.get("inference_precision") or "f32"
    command = [
        str(Path(sys.executable).with_name("benchmark_app")), "-m", str(bundle.payload.main), "-d", "CPU",
        "-api", "sync", "-hint", "none", "-nstreams", "1", "-nthreads", str(threads), "-infer_precision", str(asked),
        "-inference_only", "true",
    ]  # fmt: skip

    def turn(seconds: float) -> dict[str, float]:
        percentiles: dict[str, float] = {}
        for name in NAMES:
            more = ["-t", str(max(1, round(seconds))), "-latency_percentile", name[1:]]
            output = subprocess.run(command + more, capture_output=True, text=True, check=True).stdout
            label = "Median" if name == "p50" else f"{name[1:]} percentile"
            match = re.search(rf"{label}:\s+([\d.]+) (ms|us)", output)
            count = re.search(r"Count:\s+(\d+) iterations", output)
            if match is None or count is None:
                raise SystemExit(f"benchmark_app does not report {label}:\n{output[-2000:]}")
            percentiles |= {name: float(match[1]) * {"ms": 1.0, "us": 1e-3}[match[2]], "count": float(count[1])}
        return percentiles

    return turn


def compare(ours_ms: np.ndarray, theirs_ms: np.ndarray) -> dict[str, Any]:
    """Return the median ratio of pairs with its 95 % bootstrap interval."""
    ratios = ours_ms / theirs_ms
    picks = np.random.default_rng(0).integers(0, len(ratios), size=(2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    middle = float(np.median(ratios))
    return {
        "ours_ms": float(np.median(ours_ms)),
        "theirs_ms": float(np.median(theirs_ms)),
        "ratio": middle,
        "ratio_low": float(low),
        "ratio_high": float(high),
        "within": abs(middle - 1) <= WITHIN,
    }


def contenders_of(stack: ExitStack, bundle: artifact.Bundle, threads: int) -> dict[str, Turn]:
    """Start every contender that is installed."""
    turns: dict[str, Turn] = {"edgekit": ours(stack, bundle)}
    turns["bare loop"] = stack.enter_context(Child(f"bare-{bundle.manifest.backend}", bundle.path))
    if importlib.util.find_spec("mlperf_loadgen"):
        turns["LoadGen"] = stack.enter_context(Child("loadgen", bundle.path))
    else:
        print("LoadGen is not installed, so it is left out: pip install mlcommons-loadgen", file=sys.stderr)
    if bundle.manifest.backend == "openvino":
        turns["benchmark_app"] = benchmark_app(bundle, threads)
    return turns


def measure(path: Path, cycles: int, seconds: float, part: Path | None) -> dict[str, Any]:
    """Run the cycles that `part` does not hold yet; it is written after each."""
    bundle = artifact.open(path)
    backend = bundle.manifest.backend
    with bundle.session() as session:
        threads = session.threads or 1
    turns: dict[str, list[dict[str, float]]] = {}
    if part is not None and part.exists():
        turns = json.loads(part.read_text())
    with ExitStack() as stack:
        contenders = contenders_of(stack, bundle, threads)
        names = list(contenders)
        if set(turns) != set(names):
            turns = {name: [] for name in names}
        for cycle in range(len(turns[names[-1]]), cycles):
            first = cycle % len(names)
            done = {name: contenders[name](seconds) for name in names[first:] + names[:first]}
            for name in names:
                turns[name].append(done[name])
            if part is not None:
                part.write_text(json.dumps(turns))
            print(f"cycle {cycle + 1} of {cycles}", file=sys.stderr)
    values = {name: {p: np.array([turn[p] for turn in turns[name]]) for p in NAMES} for name in names}
    rows = [
        {"against": name, "percentile": p, **compare(values["edgekit"][p], values[name][p])}
        for name in names[1:]
        for p in NAMES
    ]
    return {
        "bundle": path.name,
        "backend": backend,
        "recipe": bundle.manifest.recipe,
        "threads": threads,
        "cycles": cycles,
        "seconds": seconds,
        "rows": rows,
        "turns": turns,
        "environment": environment(PACKAGES).to_dict(),
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """Write every bundle's table, and the machine."""
    lines = [
        "# Our clock against others'", "",
        "The same model, threads and precision, by turns; ratios are of ours to theirs, medians over pairs of turns "
        f"with the 95 % bootstrap interval. Asked: within {WITHIN:.0%}. Made by `benchmarks/clocks.py`.", "",
        "| model | against | | ours ms | theirs ms | ratio | 95 % interval | within 3 % |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]  # fmt: skip
    for result in results:
        for row in result["rows"]:
            lines.append(
                f"| {result['bundle']} ({result['recipe']}) | {row['against']} | {row['percentile']} "
                f"| {row['ours_ms']:.4f} | {row['theirs_ms']:.4f} | {row['ratio']:.3f} "
                f"| {row['ratio_low']:.3f} to {row['ratio_high']:.3f} | {'yes' if row['within'] else 'NO'} |"
            )
    for result in results:
        host = result["environment"]["host"]
        packages = ", ".join(f"{name} {version}" for name, version in result["environment"]["packages"].items())
        lines += [
            "",
            f"{result['bundle']}: {host['cpu']}, {host['cores']} cores{', virtual' if host['virtual'] else ''}, "
            f"{result['threads']} threads, {result['cycles']} turns of {result['seconds']:g} s each; {packages}; "
            f"{result['environment']['created']}.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cycles", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--output", type=Path, help="add to OUTPUT.json and write OUTPUT.md anew")
    arguments = parser.parse_args()
    output: Path | None = arguments.output
    part = output.with_name(f"{output.name}-{arguments.bundle.name}.part") if output else None
    results = [measure(arguments.bundle, arguments.cycles, arguments.seconds, part)]
    if output is not None and part is not None:
        file = output.with_suffix(".json")
        old = json.loads(file.read_text()) if file.exists() else []
        results = [result for result in old if result["bundle"] != results[0]["bundle"]] + results
        file.write_text(json.dumps(results, indent=1) + "\n")
        output.with_suffix(".md").write_text(markdown(results))
        part.unlink(missing_ok=True)
    print(markdown(results))


if __name__ == "__main__":
    main()
