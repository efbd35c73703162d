"""Inputs of one kind in a worker process, which is replaced where an input kills it, hangs it or leaves a trace."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

LIMIT_S = 20.0
"""Seconds after which an input counts as hanging."""

START_S = 120.0
"""Seconds that a worker has to import what it needs."""


@dataclass
class Outcomes:
    """How the inputs of a kind ended."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)
    """The inputs that ended in each fault, by its words."""

    @property
    def inputs(self) -> int:
        return self.counts.total()

    def add(self, outcome: str, words: str, case: str) -> None:
        self.counts[outcome] += 1
        if outcome not in ("accepted", "refused"):
            self.faults.setdefault(f"{outcome}: {words}", []).append(case)


def run(kind: str, count: int, seed: int, *, until: float | None = None, first: int = 0) -> Outcomes:
    """Run the inputs `first` to before `count` of a kind; `until` is a time.monotonic() after which none begins."""
    outcomes = Outcomes(kind)
    while first < count and (until is None or time.monotonic() < until):
        with tempfile.TemporaryDirectory(prefix="edgekit-fuzz-") as folder:
            first = _one_worker(kind, seed, first, count, Path(folder), outcomes, until)
    return outcomes


def _one_worker(
    kind: str, seed: int, first: int, count: int, folder: Path, outcomes: Outcomes, until: float | None
) -> int:
    """Run inputs in one worker until it is to be replaced; return the number of the next input."""
    work = folder / "work"
    work.mkdir()
    with (folder / "stderr").open("w+") as errors:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", kind, str(seed), str(first), str(count), str(work)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(folder),
        )
        try:
            return _follow(Lines(worker), kind, first, outcomes, until, folder / "stderr")
        finally:
            worker.kill()
            worker.communicate()


def _follow(lines: Lines, kind: str, first: int, outcomes: Outcomes, until: float | None, errors: Path) -> int:
    number, name = first, ""
    while True:
        begins = lines.next(START_S)
        if begins is None:
            if number == first and not name:
                raise RuntimeError(f"the worker of {kind} did not begin: {errors.read_text()[-2000:]}")
            return number
        number, name = begins["begins"], begins["name"]
        case = f"{kind} {number}: {name}"
        ended = lines.next(LIMIT_S)
        if ended is None:
            code = lines.worker.poll()
            hangs = lines.late or code is None
            outcomes.add("hang" if hangs else "crash", f"{LIMIT_S:g} s" if hangs else f"exit code {code}", case)
            return number + 1
        outcomes.add(ended["outcome"], ended["words"], case)
        number += 1
        if ended["outcome"] in ("trace", "altered") or (until is not None and time.monotonic() > until):
            return number


class Lines:
    """The lines of JSON that a worker writes."""

    def __init__(self, worker: subprocess.Popen[bytes]) -> None:
        self.worker = worker
        self.late = False
        self._rest = b""

    def next(self, seconds: float) -> dict[str, str] | None:
        """Return the next line; None where the worker ends, or writes none within `seconds`."""
        stream = self.worker.stdout
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
                self.late = True
                return None
            content = os.read(stream.fileno(), 1 << 16)
            if not content:
                self.worker.wait()
                return None
            self._rest += content
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that has its places in `folder` and reaches no network."""
    places = {name: folder / name for name in ("tmp", "cache", "home")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(places["tmp"]),
        "EDGEKIT_CACHE_DIR": str(places["cache"]),
        "HOME": str(places["home"]),
        "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
    }
