"""Build an engine in a child process with a time limit: a compiler that crashes or hangs ends only that process."""

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
"""A large network at optimization level 5 takes half an hour on a Jetson."""

LAST_LINES = 6


def build(job: Mapping[str, Any], folder: Path, *, timeout_s: float = BUILD_SECONDS) -> dict[str, Any]:
    """Run `job` in a child process that works in `folder`, and return its result.

    `job` has `runtime`, `graph`, `plan`, `engine`, `timing_cache` and `compute_capability`, as plain JSON. Raises the
    EdgekitError that was raised there, and BuildError for a child that crashed or took too long.
    """
    result_file, log = folder / "result.json", folder / "build.log"
    result_file.unlink(missing_ok=True)
    (folder / "job.json").write_text(json.dumps(dict(job)))
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = (
        "import sys; sys.path[:] = sys.argv[3:]; from edgekit_tensorrt.build_process import main; main(*sys.argv[1:3])"
    )
    command = [sys.executable, "-c", code, str(folder), str(os.getpid()), *path]
    with log.open("wb") as stream:
        try:
            exit_code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, timeout=timeout_s, check=False
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise _failed(f"TensorRT's build took longer than {timeout_s:g} s and was stopped", log) from error
    if exit_code == 0 and result_file.is_file():
        result: dict[str, Any] = json.loads(result_file.read_text())
        if "fault" in result:
            fault = result["fault"]
            raise EdgekitError.from_dict({**fault, "context": {**fault["context"], "log": str(log)}})
        return result
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        cause = " (the system killed it, most likely because memory ran out)" if name == "SIGKILL" else ""
        raise _failed(f"TensorRT's build process ended by {name}{cause}", log)
    raise _failed(f"TensorRT's build process ended with exit code {exit_code}", log)


def main(folder: str, parent: str) -> None:
    """Run the job in `folder` and write `result.json` there; end with the process `parent`."""
    die_with(int(parent))
    work = Path(folder)
    job = json.loads((work / "job.json").read_text())
    try:
        result = _build(job)
    except EdgekitError as error:
        result = {"fault": error.to_dict()}
    with replacing(work / "result.json") as file:
        file.write_text(json.dumps(result))


def _build(job: Mapping[str, Any]) -> dict[str, Any]:
    from edgekit_tensorrt import cuda, engine_builder, runtime
    from edgekit_tensorrt.plan import BuildPlan

    here = job["compute_capability"] is None
    if here:
        cuda.driver().retain_context()  # without a driver TensorRT crashes and gives no message
    trt = runtime.module(job["runtime"])
    cache = Path(job["timing_cache"])
    built = engine_builder.build(
        trt,
        Path(job["graph"]),
        BuildPlan.from_dict(job["plan"], "build plan"),
        timing_cache=cache.read_bytes() if cache.is_file() else None,
        compute_capability=job["compute_capability"],
    )
    with replacing(Path(job["engine"])) as file:
        file.write_bytes(built.engine)
    if built.timing_cache is not None:
        with replacing(cache) as file:
            file.write_bytes(built.timing_cache)
    layers = engine_builder.inspect_engine(trt, built.engine) if here else None
    return {"seconds": round(built.seconds, 3), "warnings": list(built.warnings), "layers": layers}


def _failed(message: str, log: Path) -> BuildError:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = "".join(f"\n  {line}" for line in lines[-LAST_LINES:]) or "\n  it printed nothing"
    return BuildError(f"{message}. Its last lines:{last}", hint="check the driver with `edgekit doctor`", log=str(log))
