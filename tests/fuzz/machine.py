"""Faults of the machine under whole exports: kills, full disks, and one cache for several of them.

Each export is a process of its own, of a small ONNX file. Whatever happens, nothing half written lies beside the
output, a bundle that is there verifies, and the next export works.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from tests.fuzz import parent
from tests.fuzz.onnx_files import net
from tests.fuzz.parent import Outcomes

LIMIT_S = 120.0
"""Seconds that a whole export may take, with others beside it."""


def kills(count: int, seed: int, folder: Path) -> Outcomes:
    """Kill exports at random moments, `count` times, all with one cache."""
    generator = random.Random(f"kill {seed}")
    outcomes = Outcomes("kill")
    model = _model(folder)
    began = time.monotonic()
    _expect(outcomes, folder, model, "before any kill")
    whole_s = time.monotonic() - began
    outcomes.counts.clear()
    for number in range(count):
        case = f"kill {number} after {(after := generator.uniform(0.05, whole_s * 1.02)):.3f} s"
        if generator.random() < 0.5:  # half of them from an empty cache
            _export(folder, model, "cache", "clear")
        process = _start(folder, model)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        missed = process.poll() is not None
        if not missed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        outcomes.counts["missed" if missed else "killed"] += 1
        if words := _broken(folder):  # hidden leftovers beside it stay until the next export
            outcomes.add("broken", words, case)
        if number % 5 == 4 or number == count - 1:  # a next run for every five kills
            _expect(outcomes, folder, model, case)
    return outcomes


def full_disks(count: int, seed: int, folder: Path) -> Outcomes:
    """Export with the temporary files, the cache or the output on a disk that fills up, `count` times."""
    generator = random.Random(f"disk {seed}")
    outcomes = Outcomes("disk")
    if not _mounts(folder):
        outcomes.counts["not possible here"] = count
        return outcomes
    model = _model(folder)
    for number in range(count):
        place = generator.choice(("tmp", "cache", "home", "place"))
        size = generator.choice((4, 8, 16, 24, 32, 48, 64, 96, 128, 200))
        case = f"disk {number}: {place} of {size} KiB"
        with _disk(folder / place, size):
            process = _start(folder, model)
            _judge(outcomes, process, case, may_fail=(0, 7))
            if place == "place" and (words := _left(folder)):
                outcomes.add("broken", words, case)
        if number % 5 == 4:
            _expect(outcomes, folder, model, case)
    return outcomes


def together(count: int, seed: int, folder: Path) -> Outcomes:
    """Run eight exports at once on one cache, which is cleared meanwhile, `count` times."""
    outcomes = Outcomes("together")
    model = _model(folder)
    for number in range(count):
        processes = [_start(folder, model, place=f"place{each}") for each in range(8)]
        for _ in range(3):
            _judge(outcomes, _start(folder, model, "cache", "clear"), f"cache clear beside exports {number}")
        for each, process in enumerate(processes):
            _judge(outcomes, process, f"export {each} of 8 at once, round {number}")
            if words := _left(folder, f"place{each}"):
                outcomes.add("broken", words, f"export {each} of round {number}")
    return outcomes


def namespaces(count: int, seed: int, folder: Path) -> Outcomes:
    """Run exports in two namespaces of process ids at once on one cache, as two containers do, `count` times."""
    outcomes = Outcomes("namespaces")
    prefix = ("unshare", "--pid", "--fork", "--mount-proc")
    if os.geteuid() or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        outcomes.counts["not possible here"] = count
        return outcomes
    model = _model(folder)
    for number in range(count):
        processes = [_start(folder, model, place=f"place{each}", prefix=prefix) for each in range(2)]
        _judge(outcomes, _start(folder, model, "cache", "clear"), f"cache clear beside containers {number}")
        for each, process in enumerate(processes):
            _judge(outcomes, process, f"container {each}, round {number}")
            if words := _left(folder, f"place{each}"):
                outcomes.add("broken", words, f"container {each} of round {number}")
    return outcomes


def _model(folder: Path) -> Path:
    path = folder / "a.onnx"
    onnx.save(net(), path)
    return path


def _start(
    folder: Path, model: Path, *words: str, place: str = "place", prefix: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start an export, or the verb that is given, in a session of its own."""
    (folder / place).mkdir(exist_ok=True)
    export = ("export", str(model), "--output", f"{place}/out", "--force", "--backend", "onnxruntime", "--no-bench")
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "edgekit.cli", *(words or export)],
        cwd=folder,
        env={**parent.environment(folder), "PYTHONPYCACHEPREFIX": "", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _export(folder: Path, model: Path, *words: str) -> int:
    process = _start(folder, model, *words)
    process.communicate(timeout=LIMIT_S)
    return process.returncode


def _expect(outcomes: Outcomes, folder: Path, model: Path, case: str) -> None:
    """Note whether the next export works, and what it leaves."""
    _judge(outcomes, _start(folder, model), f"the export after {case}")
    if words := _left(folder):
        outcomes.add("broken", words, f"the export after {case}")


def _judge(outcomes: Outcomes, process: subprocess.Popen[str], case: str, may_fail: tuple[int, ...] = (0,)) -> None:
    try:
        _, errors = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        outcomes.add("hang", f"{LIMIT_S:g} s", case)
        return
    code = process.returncode
    last = " / ".join(errors.strip().splitlines()[-2:])[:300]
    if "Traceback" in errors or code == 1 or code < 0:
        outcomes.add("trace", f"exit code {code}: {last}", case)
    elif code not in may_fail:
        outcomes.add("failed", f"exit code {code}: {last}", case)
    else:
        outcomes.add("refused" if code else "accepted", "", case)


def _left(folder: Path, place: str = "place") -> str:
    """Return what is half written in the output's folder or its bundle, in words."""
    others = sorted(path.name for path in (folder / place).iterdir() if path.name != "out")
    return f"beside the output lie {', '.join(others)}" if others else _broken(folder, place)


def _broken(folder: Path, place: str = "place") -> str:
    """Return what is wrong with the bundle at the output, in words; empty where it is whole, or is not there."""
    from edgekit.bundle import bundle
    from edgekit.errors import EdgekitError

    if (folder / place / "out").exists():
        try:
            bundle.open(folder / place / "out")
        except EdgekitError as error:
            return f"the bundle is broken: {error.message}"
    return ""


@contextlib.contextmanager
def _disk(place: Path, kib: int) -> Iterator[None]:
    """Mount a disk of so many KiB over a folder."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _mounts(folder: Path) -> bool:
    """Return whether this process may mount."""
    try:
        with _disk(folder / "tried", 64):
            return os.geteuid() == 0
    except (subprocess.CalledProcessError, OSError):
        return False
