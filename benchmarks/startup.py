"""Time how long `edgekit --help` and `import edgekit` take against bare Python, interleaved; medians of 20.

    python benchmarks/startup.py [--runs 20] [--output FILE.json]

Every command is a fresh process; one untimed run of each comes first, so that files are in the system's cache and byte
code is written.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from edgekit.bench import environment

LIMITS_MS = {"import edgekit": 60, "edgekit --help": 150}
"""What may be added to bare Python by the import, and what `--help` may take in all."""


def commands() -> dict[str, list[str]]:
    beside = Path(sys.executable).parent / "edgekit"
    script = str(beside) if beside.exists() else shutil.which("edgekit")
    if script is None:
        raise SystemExit("the command `edgekit` is not installed in this environment: pip install -e .")
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import edgekit": [sys.executable, "-c", "import edgekit"],
        "edgekit --help": [script, "--help"],
    }


def measure(runs: int) -> dict[str, list[float]]:
    """Return every command's times in milliseconds; the order turns by one each time."""
    todo = commands()
    names = list(todo)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, runs):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            began = time.perf_counter_ns()
            subprocess.run(todo[name], check=True, stdout=subprocess.DEVNULL)
            if turn >= 0:
                times[name].append((time.perf_counter_ns() - began) / 1e6)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=Path, help="write the result as JSON here")
    arguments = parser.parse_args()
    times = measure(arguments.runs)
    bare = statistics.median(times["python -c pass"])
    rows = {
        name: {
            "median_ms": statistics.median(times_ms),
            "least_ms": min(times_ms),
            "over_bare_ms": statistics.median(times_ms) - bare,
        }
        for name, times_ms in times.items()
    }
    print(f"{'':<18}{'median ms':>10}{'least ms':>10}{'over bare':>11}{'limit':>8}")
    for name, row in rows.items():
        limit = f"{LIMITS_MS[name]}" if name in LIMITS_MS else ""
        print(f"{name:<18}{row['median_ms']:>10.1f}{row['least_ms']:>10.1f}{row['over_bare_ms']:>11.1f}{limit:>8}")
    if arguments.output:
        result = {
            "runs": arguments.runs,
            "commands": rows,
            "raw_ms": times,
            "environment": environment(("click",)).to_dict(),
        }
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
