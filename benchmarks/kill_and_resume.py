"""What a kill costs: an export is killed (SIGKILL) at random moments and run again, and held against an unbroken one.

    python benchmarks/kill_and_resume.py [--times 10] [--seed 0] [--output FILE.json] -- MODEL [OPTIONS of export]

Each trial has an empty cache of its own. It is killed once, at a moment drawn over the whole length of the unbroken
run, with all its processes, and run again to its end. The table says in which step it was killed; whether the bundle
and every candidate's quality are those of the unbroken run; how many steps that were whole were made again; of a
training that was under way, how many of its steps the checkpoint had; and the seconds that the kill cost, the second
start of the program included. Give --no-bench, or the shipped candidate may differ by the noise of the measurements.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import edgekit
from edgekit.bench import environment

PACKAGES = ("edgekit", "torch", "transformers", "onnx", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Trial:
    """One kill."""

    killed_s: float
    during: str
    equal: bool
    remade: int
    """Steps of the cache that were whole when the kill came, and were made again."""
    kept: int | None
    """Training steps that the checkpoint of a training under way had; None where none was."""
    lost_s: float


class Run:
    """An export in a session of its own, with its words as they come."""

    def __init__(self, arguments: list[str], place: Path) -> None:
        command = [sys.executable, "-m", "edgekit.cli", "export", *arguments, "--output", str(place / "out")]
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "EDGEKIT_CACHE_DIR": str(place / "cache"), "NO_COLOR": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stderr.readline, "")))
        self.reader.start()

    def end(self) -> float:
        """Wait for the end; give the seconds since the start."""
        self.process.wait()
        seconds = time.perf_counter() - self.began
        self.reader.join()
        self.process.stderr.close()
        return seconds

    def kill(self) -> float:
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.end()

    def succeed(self) -> float:
        seconds = self.end()
        if self.process.returncode:
            raise SystemExit(f"exit code {self.process.returncode}: {''.join(self.lines)}")
        return seconds


def outcome(place: Path) -> tuple[str, dict[str, object]]:
    """Return the digest of a bundle's payload and every candidate's quality."""
    bundle = edgekit.open(place / "out")
    candidates = bundle.report().candidates
    return bundle.manifest.digest, {c.name: c.quality.to_dict() if c.quality else c.status for c in candidates}


def whole_steps(place: Path) -> dict[str, int]:
    """Return the inode of each step in the cache: one that is made again has another."""
    return {path.parent.name: path.stat().st_ino for path in (place / "cache").glob("steps/*/*/entry.json")}


def kept_steps(place: Path) -> int | None:
    """Return how many steps of a training the newest checkpoint has."""
    files = sorted((place / "cache" / "partial").glob("*/*.checkpoint"), key=lambda path: path.stat().st_mtime)
    if not files:
        return None
    import torch

    return int(torch.load(files[-1], weights_only=True)["step"])


def attempt(arguments: list[str], place: Path, after_s: float, whole_s: float) -> Trial | None:
    """Kill an export after some seconds and run it again; None where it had ended before."""
    place.mkdir()
    run = Run(arguments, place)
    try:
        run.process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        killed_s = run.kill()
    else:
        run.end()
        return None
    before, kept = whole_steps(place), kept_steps(place)
    during = run.lines[-1].partition("] ")[2].strip() if run.lines else "starting"
    again_s = Run(arguments, place).succeed()
    after = whole_steps(place)
    remade = sum(after.get(key) != inode for key, inode in before.items())
    equal = outcome(place) == outcome(place.parent / "whole")
    return Trial(round(killed_s, 2), during, equal, remade, kept, round(killed_s + again_s - whole_s, 2))


def table(trials: list[Trial], whole_s: float) -> str:
    lines = [
        f"unbroken: {whole_s:.1f} s",
        "",
        "| killed at, s | during | result equal | whole steps made again | training steps kept | seconds lost |",
        "| ---: | --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {t.killed_s:.1f} | {t.during} | {'yes' if t.equal else 'NO'} | {t.remade} | "
        f"{'-' if t.kept is None else t.kept} | {t.lost_s:.1f} |"
        for t in trials
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the result as JSON here")
    parser.add_argument("export", nargs="+", help="what follows `edgekit export`, after --")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="edgekit-kill-") as folder:
        place = Path(folder)
        (place / "whole").mkdir()
        whole_s = Run(given.export, place / "whole").succeed()
        number = 0
        while len(trials) < given.times:
            number += 1
            trial = attempt(given.export, place / str(number), chance.uniform(0.0, whole_s), whole_s)
            if trial is not None:
                trials.append(trial)
                print(f"{len(trials)} of {given.times}: {trial}", file=sys.stderr)
    print(table(trials, whole_s))
    if given.output:
        facts = {"export": given.export, "whole_s": round(whole_s, 2), "trials": [asdict(t) for t in trials]}
        facts["environment"] = environment(PACKAGES).to_dict()
        given.output.write_text(json.dumps(facts, indent=1) + "\n")
    if not all(t.equal and not t.remade for t in trials):
        raise SystemExit("a killed export did not come to the same result, or lost more than the step under way")


if __name__ == "__main__":
    main()
