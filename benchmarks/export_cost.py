"""What an export costs beside its peer: `edgekit export` against `optimum-cli export onnx`, fp32 against fp32.

    python benchmarks/export_cost.py CHECKPOINT [--task feature-extraction] [--runs 5] [--output FILE.json]

Both start from nothing (edgekit with an empty cache) in fresh processes, in turns. edgekit also checks its graph
against the original and writes a bundle; optimum-cli validates its file. Wall seconds and the process's peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgekit.bench import environment

PACKAGES = ("edgekit", "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime")


def commands(checkpoint: Path, task: str, scratch: Path) -> dict[str, list[str]]:
    """Return both commands, writing below `scratch`."""
    scripts = Path(sys.executable).parent
    export = [str(scripts / "edgekit"), "export", str(checkpoint), "--candidate", "onnxruntime/fp32", "--no-bench"]
    peer = [str(scripts / "optimum-cli"), "export", "onnx", "--task", task, "--model", str(checkpoint)]
    return {
        "edgekit": [*export, "--quiet", "--cache-dir", str(scratch / "cache"), "--output", str(scratch / "bundle")],
        "optimum-cli": [*peer, str(scratch / "onnx")],
    }


def run(command: list[str]) -> tuple[float, float]:
    """Run a command to its end; give wall seconds and peak memory in MB of 10^6 bytes."""
    began = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"exit code {child.returncode}: {' '.join(command)}")
    return seconds, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--task", default="feature-extraction", help="the task given to optimum-cli")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the result as JSON here")
    arguments = parser.parse_args()
    measured: dict[str, list[tuple[float, float]]] = {}
    for turn in range(-1, arguments.runs):
        with tempfile.TemporaryDirectory() as scratch:
            todo = list(commands(arguments.checkpoint, arguments.task, Path(scratch)).items())
            for name, command in todo[:: 1 if turn % 2 else -1]:
                result = run(command)
                if turn >= 0:  # the first turn fills the system's file cache
                    measured.setdefault(name, []).append(result)
    rows = {
        name: {
            "wall_s": statistics.median(seconds for seconds, _ in results),
            "least_wall_s": min(seconds for seconds, _ in results),
            "peak_memory_mb": statistics.median(memory for _, memory in results),
        }
        for name, results in measured.items()
    }
    pairs = list(zip(measured["edgekit"], measured["optimum-cli"], strict=True))
    ratios = {
        "wall": statistics.median(ours[0] / theirs[0] for ours, theirs in pairs),
        "peak_memory": statistics.median(ours[1] / theirs[1] for ours, theirs in pairs),
    }
    print(f"{'':<12}{'wall s':>8}{'least s':>9}{'peak MB':>9}")
    for name, row in rows.items():
        print(f"{name:<12}{row['wall_s']:>8.2f}{row['least_wall_s']:>9.2f}{row['peak_memory_mb']:>9.0f}")
    print(f"median ratio, turn by turn: wall {ratios['wall']:.2f}x, peak memory {ratios['peak_memory']:.2f}x")
    if arguments.output:
        facts = {"runs": arguments.runs, "commands": rows, "ratios": ratios, "raw": measured}
        record = {**facts, "environment": environment(PACKAGES).to_dict()}
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
