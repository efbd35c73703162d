"""Export a small random checkpoint of every model type of transformers, and hold each graph against torch.

Each one goes the way of a user's checkpoint: `edgekit export FOLDER --candidate onnxruntime/fp32 --no-bench`. What is
shipped is run again here, beside the class that the checkpoint names, on two batches and lengths. What is refused has to
name a next step: the script takes it, and records what came. One worker process at a time, within limits of time and
memory; a line of JSON a model, so that a second call goes on where the first ended.

    python benchmarks/architectures.py --work /tmp/architectures --results benchmarks/results
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

MEMORY_BYTES = 10 << 30
"""The worker's address space: torch and two runtimes map several GB that they do not use."""


HANGS = " "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("EDGEKIT_BENCH_DIR", "benchmarks/.work")))
    parser.add_argument("--results", type=Path, help="write architectures.md and architectures.json into this folder")
    parser.add_argument("--only", action="append", help="this model type (may be given again)")
    parser.add_argument("--limit", type=int, help="at most this many models")
    parser.add_argument("--every-class", action="store_true", help="every class of a type, not only its first")
    parser.add_argument("--again", help="run those again whose result begins with this word")
    parser.add_argument("--seconds", type=int, default=150, help="limit for one model")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work()
    import tiny_checkpoints

    arguments.work.mkdir(parents=True, exist_ok=True)
    log = arguments.work / "architectures.jsonl"
    done = {(row["type"], row["class"]): row for row in read(log)}
    items = [item for item in tiny_checkpoints.classes(arguments.every_class) if not arguments.only or item[0] in arguments.only]
    waiting = [
        item for item in items
        if arguments.only or item[:2] not in done
        or (arguments.again and done[item[:2]]["result"].startswith(arguments.again))
    ]  # fmt: skip
    for row in rows(waiting[: arguments.limit], arguments.work, arguments.seconds):
        done[row["type"], row["class"]] = row
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{row['type']:32s} {row['class']:44s} {row['result']:10s} {row.get('reason', '')[:110]}", flush=True)
    if arguments.results:
        from architectures_table import write

        write([done[item[:2]] for item in items if item[:2] in done], arguments.results)


def read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


def rows(items: list[tuple[str, str, str]], folder: Path, seconds: int) -> Iterator[dict[str, Any]]:
    """Yield one row for each item; a worker that dies or hangs costs its item and is started again."""
    worker: subprocess.Popen[str] | None = None
    for model_type, class_name, task in items:
        if worker is None or worker.poll() is not None:
            worker = start(folder)
        assert worker.stdin is not None
        worker.stdin.write(json.dumps([model_type, class_name, task, str(folder)]) + "\n")
        worker.stdin.flush()
        line = answer(worker, seconds)
        fault = None if line.strip() else "it took longer than the limit" if line is HANGS else "the process died"
        if fault:
            worker.kill()
            worker.wait()
            worker = None
            yield {"type": model_type, "class": class_name, "task": task, "result": "FAULT", "reason": fault}
        else:
            yield json.loads(line)
    if worker is not None:
        worker.kill()
        worker.wait()


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["nice", sys.executable, __file__, "--worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "worker.log").open("w"), text=True,
    )  # fmt: skip


def answer(worker: subprocess.Popen[str], seconds: int) -> str:
    with selectors.DefaultSelector() as selector:
        assert worker.stdout is not None
        selector.register(worker.stdout, selectors.EVENT_READ)
        return worker.stdout.readline() if selector.select(seconds) else HANGS


def work() -> None:
    """Take items from the standard input and write a row for each to the standard output."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no row
    from architectures_trial import trial

    for line in sys.stdin:
        model_type, class_name, task, folder = json.loads(line)
        row = {"type": model_type, "class": class_name, "task": task}
        with contextlib.redirect_stdout(sys.stderr):
            row |= trial(model_type, class_name, Path(folder))
        channel.write(json.dumps(row) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
