"""Text generation beside its peers: first token, tokens a second and memory of a Llama of 0.41 B random weights.

    python benchmarks/text_generation.py --stage build                       # environments, conversions, exports; kept
    python benchmarks/text_generation.py --out benchmarks/results            # the measurement alone, where all is built
    python benchmarks/text_generation.py --tools torch,edgekit-int4 --rounds 1

Random weights: speed and memory mean something, the agreement of the packed ones little. Every tool continues the same
ids greedily, in its own process and environment; in each round all of them take a turn, in an order drawn anew. Exports
are timed, with the memory of their processes sampled: what is theirs alone (anonymous), and with the pages of files
that they have mapped (PSS).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.bench import environment
from edgekit.bench.generation import memory_gb_per_s
from edgekit.errors import EdgekitError
from edgekit.target import host
from models.place import BENCHMARKS, work, written_whole
from suite import tools
from suite.generation_table import GENERATORS, Generator, markdown, row

WORKER = BENCHMARKS / "suite" / "generators.py"
SAMPLES = 2


class Failed(Exception):
    """A tool that was not built, or whose process ended."""


def variables(environment_name: str) -> dict[str, str]:
    given = tools.variables()
    ours = given.pop("PYTHONPATH")  # the other environments have nothing of ours
    return {**given, "PYTHONPATH": ours} if environment_name == tools.HERE else given


class Memory(threading.Thread):
    """The greatest memory of a process and its children while it runs, in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.peak = {"Pss": 0.0, "Pss_Anon": 0.0}

    def run(self) -> None:
        while Path(f"/proc/{self._pid}").is_dir():
            now = dict.fromkeys(self.peak, 0.0)
            for pid in self._tree(self._pid):
                try:
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
                except OSError:
                    continue
                for name, value in (line.split(":") for line in lines):
                    if name in now:
                        now[name] += int(value.split()[0]) * 1024 / 1e6
            self.peak = {name: max(value, now[name]) for name, value in self.peak.items()}
            time.sleep(0.1)

    def _tree(self, pid: int) -> list[int]:
        try:
            children = [
                int(child)
                for task in Path(f"/proc/{pid}/task").iterdir()
                for child in (task / "children").read_text().split()
            ]
        except OSError:
            return [pid]
        return [pid, *(each for child in children for each in self._tree(child))]


def watched(command: Sequence[str], log: Path, environment_name: str) -> dict[str, float]:
    """Run a command and return its seconds and the memory of its processes. Raises Failed with its last lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=variables(environment_name))
        memory = Memory(process.pid)
        memory.start()
        code = process.wait()
    memory.join()
    if code:
        raise Failed(tools.last_lines(log))
    seconds = time.monotonic() - began
    return {"seconds": seconds, "pss_mb": memory.peak["Pss"], "anonymous_mb": memory.peak["Pss_Anon"]}


def checkpoint(place: Path) -> Path:
    folder = place / "checkpoint"
    if not folder.is_dir():
        with written_whole(folder) as draft:
            watched(
                [sys.executable, str(WORKER), "make_checkpoint", str(draft)], place / "logs" / "make.log", tools.HERE
            )
            write_ids(draft / "ids.npz")
    return folder


def write_ids(path: Path) -> None:
    import numpy as np

    np.savez(path, input_ids=np.random.default_rng(0).integers(1, 32_000, (SAMPLES, 96)))


def build(tool: Generator, place: Path) -> Path:
    """Return the folder that a tool generates with; it is made once, with `built.json` beside it."""
    model = checkpoint(place)
    if tool.convert is None and tool.candidate is None:
        return model
    folder = place / tool.name
    if folder.is_dir():
        return folder
    with written_whole(folder) as draft:
        if tool.convert is not None:
            command = [str(tools.python_of(tool.convert_in)), str(WORKER), tool.convert, str(model), str(draft)]
            built = watched(command, place / "logs" / f"build-{tool.name}.log", tool.convert_in)
        else:
            command = [sys.executable, "-m", "edgekit.cli", "export", str(model), "--data", str(model / "ids.npz")]
            command += ["--candidate", str(tool.candidate), "--min-agreement", "0", "--no-bench", "--force"]
            # A cache of its own: else the second export would find the first one's graph, and take no time for it.
            command += ["--output", str(draft), "--cache-dir", str(place / "caches" / tool.name)]
            built = watched(command, place / "logs" / f"build-{tool.name}.log", tools.HERE)
        (draft.parent / f"{tool.name}.built.json").write_text(json.dumps(built))
    return folder


def built_facts(tool: Generator, place: Path) -> dict[str, float]:
    path = place / f"{tool.name}.built.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def turn(tool: Generator, folder: Path, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what one process of a tool measured. Raises Failed."""
    log = place / "logs" / f"{tool.name}.log"
    command = [str(tools.python_of(tool.environment)), str(WORKER), tool.kind, str(folder), str(options.threads)]
    command += [str(options.prompt), str(options.new), str(options.runs)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        result = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables(tool.environment), check=False
        )
    if result.returncode or not result.stdout.strip():
        raise Failed(tools.last_lines(log))
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def measure(chosen: list[Generator], place: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each tool, in the order of the table."""
    draw, turns, failures = random.Random(options.seed), {tool.name: [] for tool in chosen}, {}
    folders = {}
    for tool in chosen:
        try:
            folders[tool.name] = build(tool, place)
        except (EdgekitError, Failed) as error:
            failures[tool.name] = str(error)
    memory = []
    for number in range(options.rounds):
        order = [tool for tool in chosen if tool.name not in failures]
        draw.shuffle(order)
        for tool in order:
            memory.append(memory_gb_per_s())
            try:
                turns[tool.name].append(turn(tool, folders[tool.name], place, options))
            except (EdgekitError, Failed) as error:
                failures[tool.name] = str(error)
            print(f"round {number + 1}: {tool.title}", file=sys.stderr, flush=True)
    fastest = max((each for each in memory if each), default=None)
    torch_ids = next((each["runs"][0]["ids"] for each in turns.get("torch", ())), None)
    return [
        row(tool, turns[tool.name], folders.get(tool.name), built_facts(tool, place), fastest, torch_ids, failures)
        for tool in chosen
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default="all", help=f"of {', '.join(tool.name for tool in GENERATORS)}")
    parser.add_argument("--prompt", type=int, default=64, help="tokens before the first new one")
    parser.add_argument("--new", type=int, default=33)
    parser.add_argument("--runs", type=int, default=2, help="in a turn, after a short one to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=host.probe().cores)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", choices=("build", "measure"), default="measure", help="the last stage to do")
    parser.add_argument("--out", type=Path, help="the folder for text-generation-peers.md and .json")
    options = parser.parse_args()
    asked = options.tools.split(",")
    chosen = [tool for tool in GENERATORS if options.tools == "all" or tool.name in asked]
    place = work() / "text-generation"
    if options.stage == "build":
        for tool in chosen:
            try:
                print(tool.title, build(tool, place), built_facts(tool, place), flush=True)
            except (EdgekitError, Failed) as error:
                print(f"{tool.title} failed: {error}", flush=True)
        return
    load = os.getloadavg()[0]
    rows = measure(chosen, place, options)
    facts = {
        "command": " ".join(["python benchmarks/text_generation.py", *sys.argv[1:]]),
        "prompt": options.prompt,
        "new": options.new,
        "turns": options.rounds,
        "runs": options.runs,
        "threads": options.threads,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "environment": environment(("edgekit", "torch", "onnxruntime", "openvino")).to_dict(),
    }
    page = markdown(rows, facts)
    print(page)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "text-generation-peers.md").write_text(page)
        (options.out / "text-generation-peers.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
