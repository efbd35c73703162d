"""Build an engine in a process of its own, with a time limit: a compiler that crashes or hangs ends that one alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, EdgekitError
from edgekit.plugin import die_with, replacing

BUILD_SECONDS = 3600.0
"""A large network at optimization level 5 takes a Jetson half an hour."""

LAST_LINES = 6


def build(job: Mapping[str, Any], folder: Path, *, timeout_s: float = BUILD_SECONDS) -> dict[str, Any]:
    """Do `job` in a child that works in `folder`, and give what it answers.

    `job` holds `runtime`, `graph`, `plan`, `engine`, `timing_cache` and `compute_capability`, as plain JSON. Raises the
    EdgekitError that was raised there, and BuildError for a child that crashed or took too long.
    """
    answer, log = folder / "answer.json", folder / "build.log"
    answer.unlink(missing_ok=True)
    (folder / "job.json").write_text(json.dumps(dict(job)))
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = "import sys; sys.path[:] = sys.argv[3:]; from edgekit_tensorrt.child import main; main(*sys.argv[1:3])"
    command = [sys.executable, "-c", code, str(folder), str(os.getpid()), *path]
    with log.open("wb") as stream:
        try:
            returned = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, timeout=timeout_s, check=False
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise _failed(f"TensorRT built for {timeout_s:g} s and was stopped", log) from error
    if returned == 0 and answer.is_file():
        told: dict[str, Any] = json.loads(answer.read_text())
        if "fault" in told:
            raise EdgekitError.from_dict({**told["fault"], "context": {**told["fault"]["context"], "log": str(log)}})
        return told
    if returned < 0:
        name = signal.Signals(-returned).name
        why = ": the system killed it, most likely as memory ran out" if name == "SIGKILL" else ""
        raise _failed(f"the process in which TensorRT built was ended by {name}{why}", log)
    raise _failed(f"the process in which TensorRT built ended with code {returned}", log)


def main(folder: str, parent: str) -> None:
    """Do the job in `folder` and leave `answer.json` there; ends with the process `parent`."""
    die_with(int(parent))
    where = Path(folder)
    job = json.loads((where / "job.json").read_text())
    try:
        told = _build(job)
    except EdgekitError as error:
        told = {"fault": error.to_dict()}
    with replacing(where / "answer.json") as file:
        file.write_text(json.dumps(told))


def _build(job: Mapping[str, Any]) -> dict[str, Any]:
    from edgekit_tensorrt import adapter, cuda, runtime
    from edgekit_tensorrt.plan import BuildPlan

    here = job["compute_capability"] is None
    if here:
        cuda.driver().enter()  # without a driver TensorRT crashes instead of saying so
    trt = runtime.module(job["runtime"])
    cache = Path(job["timing_cache"])
    made = adapter.build(
        trt,
        Path(job["graph"]),
        BuildPlan.from_dict(job["plan"], "build plan"),
        timing_cache=cache.read_bytes() if cache.is_file() else None,
        compute_capability=job["compute_capability"],
    )
    with replacing(Path(job["engine"])) as file:
        file.write_bytes(made.engine)
    if made.timing_cache is not None:
        with replacing(cache) as file:
            file.write_bytes(made.timing_cache)
    told: dict[str, Any] = {"seconds": round(made.seconds, 3), "said": list(made.said), "layers": None}
    if here:
        told["layers"] = adapter.inspected(trt, made.engine)
    return told


def _failed(what: str, log: Path) -> BuildError:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = "".join(f"\n  {line}" for line in lines[-LAST_LINES:]) or "\n  it said nothing"
    return BuildError(f"{what}. Its last lines:{said}", hint="`edgekit doctor` checks the driver", log=str(log))
