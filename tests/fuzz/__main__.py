"""The seeded search for faults: `python -m tests.fuzz [--count N] [--seed N] [--minutes N] [--only KIND ...]`.

Inputs of every kind are drawn by the seed and judged: an exception that is not an error of edgekit's is a trace, a
process that dies is a crash, 20 seconds are a hang, and an altered bundle that passes is altered. Then the machine
fails: exports are killed, disks fill up, and several share a cache. The exit code is 1 where anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edgekit.bench import environment
from tests.fuzz import machine, parent
from tests.fuzz.parent import Outcomes
from tests.fuzz.worker import KINDS

PACKAGES = ("edgekit", "numpy", "onnx", "onnxruntime", "pyarrow", "pillow", "safetensors", "tokenizers", "torch",
            "transformers")  # fmt: skip

SHARES = {"onnx": 0.25, "data": 0.25, "huggingface": 0.1, "text": 0.3, "bundle": 0.1}
"""The part of the inputs that are of each kind."""

Machine = Callable[[int, int, Path], Outcomes]
MACHINE: dict[str, tuple[float, Machine]] = {
    "kill": (0.02, machine.kills),
    "disk": (0.005, machine.full_disks),
    "together": (0.001, machine.together),
    "namespaces": (0.001, machine.namespaces),
}
"""What is done to whole exports, with its number a counted input."""

RESULTS = parent.ROOT / "benchmarks" / "results"
SHOWN = 3
"""Inputs that are named of each fault."""


def main() -> int:
    """Run what is asked for, write the result, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="inputs, over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="begin no input of a kind after its share of these")
    parser.add_argument("--only", nargs="*", choices=(*KINDS, *MACHINE), help="the kinds, instead of all")
    parser.add_argument("--output", type=Path, default=RESULTS / "fuzz", help="the result's path without a suffix")
    given = parser.parse_args()
    kinds = given.only or (*KINDS, *MACHINE)
    outcomes = []
    for kind in kinds:
        began = time.monotonic()
        outcomes.append(_outcomes(kind, given.count, given.seed, given.minutes and given.minutes * 60 / len(kinds)))
        print(f"{time.monotonic() - began:6.0f} s  {_line(outcomes[-1])}", flush=True)
        for words, cases in outcomes[-1].faults.items():
            print(f"          {len(cases)} {words}", *cases[:SHOWN], sep="\n            ", flush=True)
    _write(given.output, outcomes, given.seed)
    return int(any(outcome.faults for outcome in outcomes))


def _outcomes(kind: str, count: int, seed: int, seconds: float | None) -> Outcomes:
    if kind in KINDS:
        until = None if seconds is None else time.monotonic() + seconds
        return parent.run(kind, max(1, round(count * SHARES[kind])), seed, until=until)
    share, cause = MACHINE[kind]
    with tempfile.TemporaryDirectory(prefix="edgekit-fuzz-") as folder:
        return cause(max(1, round(count * share)), seed, Path(folder))


def _line(outcome: Outcomes) -> str:
    return f"{outcome.kind}: {outcome.inputs} inputs: " + ", ".join(
        f"{number} {word}" for word, number in sorted(outcome.counts.items())
    )


def _write(output: Path, outcomes: list[Outcomes], seed: int) -> None:
    machine_facts = environment(PACKAGES)
    command = " ".join(["python -m tests.fuzz", *sys.argv[1:]])
    facts = {
        "command": command,
        "seed": seed,
        "kinds": [{"kind": each.kind, "counts": dict(sorted(each.counts.items())),
                   "faults": {words: {"inputs": len(cases), "first": cases[:SHOWN]} for words, cases in
                              each.faults.items()}} for each in outcomes],
        "environment": machine_facts.to_dict(),
    }  # fmt: skip
    output.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    words = sorted({word for each in outcomes for word in each.counts})
    rows = [(each.kind, each.inputs, *(each.counts[word] for word in words)) for each in outcomes]
    lines = [
        "# What mutated inputs and a failing machine end in",
        "",
        f"`{command}`, seed {seed}, {machine_facts.created}, {os.cpu_count()} cores, "
        + ", ".join(f"{name} {version}" for name, version in machine_facts.packages.items()),
        "",
        f"| kind | run | {' | '.join(words)} |",
        "| --- | ---: |" + " ---: |" * len(words),
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
        "`accepted` and `refused` (with an error that says why) are what an input may end in; `missed` is a kill that "
        "came after the end. Everything else is a fault.",
    ]  # fmt: skip
    for each in outcomes:
        lines += [""] if each.faults else []
        lines += [f"- {len(cases)} inputs: {said}; first `{cases[0]}`" for said, cases in each.faults.items()]
    output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
