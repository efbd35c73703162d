"""An export that is interrupted, killed, or not alone leaves nothing half made, and the next one goes on from there."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgekit
from edgekit import cache
from edgekit._record import digest_of_file
from tests.wording import mentions

pytestmark = pytest.mark.needs("optimum.onnxruntime")

PATIENCE_S = 120
QUICK = ("--no-bench", "--candidate", "onnxruntime/int8-static", "--max-samples", "50")
MEASURED = (
    "--bench-seconds", "0.2", "--max-samples", "50", "--no-mixed", "--no-tune",
    "--candidate", "openvino/int8-static", "--candidate", "openvino/fp32",
)  # fmt: skip


@dataclass
class Run:
    """An export in a session of its own, as a shell starts it; what it says is read as it comes."""

    process: subprocess.Popen[str]
    lines: list[str]
    reader: threading.Thread

    def reach(self, step: str) -> bool:
        """Wait until the export tells of a step; False when it ends first."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if any(re.search(step, line) for line in list(self.lines)):
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        raise AssertionError(f"'{step}' was not reached: {self.said}")

    def stop(self, number: signal.Signals) -> int:
        """Send a signal to all its processes, as a terminal does for Ctrl-C, and wait for the end."""
        os.killpg(self.process.pid, number)
        return self.end()

    def end(self) -> int:
        code = self.process.wait(timeout=PATIENCE_S)
        self.reader.join(timeout=PATIENCE_S)
        return code

    @property
    def said(self) -> str:
        return "".join(self.lines)

    @property
    def alive(self) -> list[int]:
        """List the processes of its session that still run."""
        return [
            pid
            for pid in map(int, filter(str.isdigit, (path.name for path in Path("/proc").iterdir())))
            if session_of(pid) == self.process.pid
        ]


def session_of(pid: int) -> int | None:
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start `edgekit export digits` in `tmp_path`, with the cache and the temporary folder there."""
    (tmp_path / "tmp").mkdir()
    started: list[Run] = []

    def run(output: str = "out", *options: str) -> Run:
        command = [sys.executable, "-m", "edgekit.cli", "export", "digits", "--output", output, *options]
        places = {"EDGEKIT_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp"), "NO_COLOR": "1"}
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **places},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")), daemon=True)
        reader.start()
        started.append(Run(process, lines, reader))
        return started[-1]

    yield run
    for each in started:
        for pid in each.alive:
            os.kill(pid, signal.SIGKILL)
        each.end()
        each.process.stderr.close()


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """Check every entry of the cache, and give the inode of each: a step that is made again has another."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))

    def check() -> dict[str, int]:
        inodes = {}
        for entry in cache.usage():
            folder = cache.folder() / "steps" / entry.key[:2] / entry.key
            assert {name: digest_of_file(folder / name) for name in entry.files} == entry.files
            inodes[entry.key] = folder.stat().st_ino
        steps = [path.name for path in cache.folder().glob("steps/*/*")]
        assert sorted(steps) == sorted(inodes), "a step is there without its record"
        return inodes

    return check


def digest(path: Path) -> str:
    return edgekit.open(path).manifest.digest


def beside(folder: Path) -> list[str]:
    """List what lies in the working folder, but for the cache and the temporary folder."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("cache", "tmp"))


STEPS = (
    "loading digits",
    "exporting the graph",
    "running the original",
    r"quantize-static \(int8-static\)",
    "building openvino",
    "verifying openvino",
    "load and warm up|measure",
)


@pytest.mark.parametrize(
    "steps",
    [STEPS[::3], pytest.param(STEPS, marks=pytest.mark.nightly)],
    ids=["three moments", "every moment"],
)
def test_ctrl_c_leaves_nothing_at_any_moment(steps, start, entries, tmp_path: Path) -> None:
    chance = random.Random(7)
    interrupted = 0
    for step in steps:
        run = start("out", *MEASURED)
        if run.reach(step):
            time.sleep(chance.uniform(0, 0.4))
        code = run.stop(signal.SIGINT) if run.process.poll() is None else run.end()
        if code == 0:  # it was faster than the signal
            assert beside(tmp_path) == ["out"]
            subprocess.run(["rm", "-r", str(tmp_path / "out")], check=True)
            continue
        interrupted += 1
        assert code == 130, f"{step}: {run.said}"
        assert "Traceback" not in run.said, f"{step}: {run.said}"
        assert run.said.splitlines()[-1] == "interrupted"
        assert beside(tmp_path) == []
        assert run.alive == []
        # torch keeps a folder of its own there, also when all goes well.
        assert {path.name.partition("_")[0] for path in (tmp_path / "tmp").iterdir()} <= {"torchinductor"}, step
        assert not list((tmp_path / "cache" / "work").glob("*")), step
        entries()
    assert interrupted >= (len(steps) + 1) // 2
    done = start("out", *MEASURED)
    assert done.end() == 0, done.said
    assert edgekit.open(tmp_path / "out").report().shipped


KILLED = ("exporting the graph", "running the original", "quantize-static", "verifying onnxruntime")


def test_ctrl_c_while_it_starts(start, tmp_path: Path) -> None:
    for seconds in (0.25, 0.6, 1.2):
        run = start("out", *MEASURED)
        time.sleep(seconds)
        code = run.stop(signal.SIGINT)
        # Before Python runs a line of ours the signal is Python's own matter.
        assert code in (130, -signal.SIGINT), f"{seconds}: {run.said}"
        if code == 130:
            assert "Traceback" not in run.said, f"{seconds}: {run.said}"
        assert beside(tmp_path) == [] and run.alive == []


@pytest.mark.parametrize(
    "steps",
    [("exporting the graph", "quantize-static"), pytest.param(KILLED, marks=pytest.mark.nightly)],
    ids=["two steps", "every step"],
)
def test_a_killed_export_goes_on_where_it_was(steps, start, entries, tmp_path: Path) -> None:
    whole = start("whole", *QUICK)
    assert whole.end() == 0, whole.said
    complete = entries()
    subprocess.run(["rm", "-r", str(tmp_path / "cache")], check=True)
    chance = random.Random(11)
    before: dict[str, int] = {}
    for step in steps:
        run = start("out", *QUICK)
        assert run.reach(step), f"'{step}' was made already: a step before it was lost"
        time.sleep(chance.uniform(0, 0.05))
        assert run.stop(signal.SIGKILL) == -signal.SIGKILL, f"'{step}' was faster than the signal"
        after = entries()
        assert before.items() <= after.items(), "a step that was whole was made again"
        assert after.keys() <= complete.keys()
        before = after
    done = start("out", *QUICK)
    assert done.end() == 0, done.said
    assert before.items() <= entries().items()
    assert entries().keys() == complete.keys()
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert beside(tmp_path) == ["out", "whole"]
    assert not list((tmp_path / "cache" / "work").glob("*"))


def test_no_worker_outlives_a_killed_export(start, tmp_path: Path) -> None:
    run = start("out", *MEASURED)
    assert run.reach("load and warm up|measure")
    end = time.monotonic() + PATIENCE_S
    while len(run.alive) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(run.alive) > 1, "no worker was seen"
    run.process.kill()
    run.process.wait(timeout=PATIENCE_S)
    while run.alive and time.monotonic() < end:
        time.sleep(0.05)
    assert run.alive == []
    assert beside(tmp_path) == []


def test_two_exports_share_a_cold_cache(start, entries, tmp_path: Path) -> None:
    runs = [start(name, *QUICK) for name in ("one", "two")]
    assert [run.end() for run in runs] == [0, 0], [run.said for run in runs]
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    lines = [line for run in runs for line in run.lines]
    assert any("loading digits" in line for line in lines), "one exports, and the other may run the original"
    for step in ("exporting", "running the original", "quantize-static", "building", "verifying"):
        matches = [line for line in lines if step in line]
        assert len(matches) == 1, f"{step}: both made the same step"
    entries()


def test_two_exports_to_one_output(start, tmp_path: Path) -> None:
    first = start("first", *QUICK)
    assert first.end() == 0, first.said
    for force in (False, True):
        for _ in range(2):
            runs = [start("out", *QUICK, *(["--force"] if force else [])) for _ in range(2)]
            codes = sorted(run.end() for run in runs)
            assert codes == ([0, 0] if force else [0, 2]), [run.said for run in runs]
            if not force:
                message = next(run.said for run in runs if run.process.returncode == 2)
                assert mentions(message, ("error:", "'out'"), re.compile(r"^hint: .*--force", re.MULTILINE))
            assert digest(tmp_path / "out") == digest(tmp_path / "first")
            assert json.loads((tmp_path / "out" / "report.json").read_text())["model"] == "digits"
            assert beside(tmp_path) == ["first", "out"]
            if not force:
                subprocess.run(["rm", "-r", str(tmp_path / "out")], check=True)
