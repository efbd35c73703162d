"""Run the `onnx` package's backend tests through edgekit, with both runtimes: no time is measured.

    python benchmarks/onnx_backend.py [--kinds node,simple] [--only resize] [--write]

Each model is loaded, checked, built, opened and run as an export does, and its outputs are compared with the package's.
`passed`: right. `as the runtime`: the runtime alone refuses it too, or gives the same outputs. `outside`: an input or
output is not a tensor of a type that edgekit feeds, and it says so. `fault`: everything else; the script ends with 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter, deque
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import onnx_models
from onnx_models import KINDS, Result

WORKERS = 2
LIMIT_S = 120.0
RESULTS = Path(__file__).parent / "results"


def work(connection: Connection, kinds: tuple[str, ...]) -> None:
    """Answer each name with its results; what runtimes print is dropped."""
    warnings.simplefilter("ignore")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    cases = onnx_models.all_cases(kinds)
    connection.send(None)
    while (name := connection.recv()) is not None:
        connection.send(list(onnx_models.judge(onnx_models.load(name, cases[name]))))


class Worker:
    """A process that judges one model at a time; a runtime may end it."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, kinds), daemon=True)
        self.process.start()
        other.close()
        self.case: str | None = None
        self.started = time.monotonic()

    def judge(self, name: str) -> None:
        self.case, self.started = name, time.monotonic()
        self.connection.send(name)

    def fault(self) -> str | None:
        """Return why it will not answer; None where it may."""
        if time.monotonic() - self.started > LIMIT_S:
            return f"no answer in {LIMIT_S:.0f} s"
        return None if self.process.is_alive() else f"the process ended with {self.process.exitcode}"


def sweep(names: list[str], kinds: tuple[str, ...]) -> list[Result]:
    """Judge every model, two at a time."""
    queue, results = deque(names), []
    workers = [Worker(kinds) for _ in range(min(WORKERS, len(names)))]
    while workers:
        ready = {id(connection) for connection in wait([worker.connection for worker in workers], timeout=1)}
        for index, worker in enumerate(list(workers)):
            reason = worker.fault()
            if id(worker.connection) in ready:
                try:
                    results += worker.connection.recv() or []
                    reason = None
                except EOFError:
                    worker.process.join()
                    reason = worker.fault() or "the process ended"
            elif reason is None:
                continue
            if reason is not None:
                worker.process.kill()
                results.append(Result(worker.case or "start", "process", "fault", reason))
                worker = workers[index] = Worker(kinds)
                continue
            if queue:
                worker.judge(queue.popleft())
            else:
                worker.connection.send(None)
                worker.process.join(timeout=10)
                workers.remove(worker)
                break
    return sorted(results, key=lambda result: (result.case, result.runtime))


def table(results: list[Result]) -> str:
    """Return the counts by runtime and kind, and each fault with its reason, in Markdown."""
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("onnx", "onnxruntime", "openvino"))
    verdicts = ("passed", "as the runtime", "outside", "fault")
    counts = Counter((r.runtime, r.case.partition("/")[0], r.verdict) for r in results)
    lines = [
        "# The `onnx` package's backend tests through edgekit",
        "",
        f"With {packages}. `python benchmarks/onnx_backend.py --write` writes this table; its docstring says what the",
        "columns mean.",
        "",
        "| runtime | models | " + " | ".join(verdicts) + " |",
        "|---|---|" + "---:|" * len(verdicts),
    ]
    for runtime, kind in sorted({(runtime, kind) for runtime, kind, _ in counts}):
        cells = [str(counts[runtime, kind, verdict]) for verdict in verdicts]
        lines.append(f"| {runtime} | {kind} | {' | '.join(cells)} |")
    for verdict in ("fault", "as the runtime", "outside"):
        chosen = [result for result in results if result.verdict == verdict]
        reasons: dict[tuple[str, str], list[str]] = {}
        for result in chosen:
            reasons.setdefault((result.runtime, _short(result.reason)), []).append(result.case.partition("/")[2])
        lines += ["", f"## {verdict}: {len(chosen)}", ""]
        for (runtime, reason), names in sorted(reasons.items(), key=lambda item: -len(item[1])):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"- {len(names)} x {runtime}: {reason} ({', '.join(names[:3])}{more})")
    return "\n".join(lines) + "\n"


def _short(reason: str) -> str:
    text = " ".join(reason.split()).replace("|", "/")
    return text if len(text) < 160 else text[:157] + "..."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", default="", help="parts of the names of the models, with commas")
    parser.add_argument("--write", action="store_true", help="write the table and all results into results/")
    arguments = parser.parse_args()
    kinds = tuple(arguments.kinds.split(","))
    warnings.simplefilter("ignore")
    wanted = arguments.only.split(",")
    names = sorted(name for name in onnx_models.all_cases(kinds) if any(part in name for part in wanted))
    started = time.monotonic()
    results = sweep(names, kinds)
    text = table(results)
    print(f"\n{text}\n{len(names)} models in {time.monotonic() - started:.0f} s")
    if arguments.write:
        (RESULTS / "onnx-backend.md").write_text(text)
        kept: list[dict[str, Any]] = [asdict(result) for result in results if result.verdict != "passed"]
        (RESULTS / "onnx-backend.json").write_text(json.dumps(kept, indent=1) + "\n")
    return 1 if any(result.verdict == "fault" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
