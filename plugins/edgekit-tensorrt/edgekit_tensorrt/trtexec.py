"""NVIDIA's `trtexec`, which is part of every JetPack: its command line for each task, its run, and its output files.

Only options that 10.3, 10.16 and 11 share are used. All options of a measurement are given: the defaults changed in 11
(CUDA graph on, spinning on, transfers off), so all three are set explicitly for every version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, BuildError, EnvironmentFault
from edgekit.plugin import LayerTime, Record
from edgekit_tensorrt.layers import CompiledLayer
from edgekit_tensorrt.plan import BuildPlan

if TYPE_CHECKING:
    import numpy as np

PATHS = ("/usr/src/tensorrt/bin/trtexec", "/usr/local/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
INSTALL = "on a Jetson: sudo apt-get install libnvinfer-bin"

TIMING_OPTIONS = ("--useCudaGraph", "--useSpinWait", "--noDataTransfers")
"""The same measurement in every version: the GPU's work alone, without copies."""

HELP_SECONDS = 60.0
"""How long printing the help may take; the first start loads 1 GB of libraries from an SD card."""

LAST_LINES = 8

_VERSION = re.compile(r"\[TensorRT v([\d.]+)\]")


@dataclass(frozen=True)
class Times(Record):
    """The content of `--exportTimes`, in milliseconds, an entry for each inference."""

    latency_ms: tuple[float, ...]
    compute_ms: tuple[float, ...]
    h2d_ms: tuple[float, ...]
    d2h_ms: tuple[float, ...]


def find(path: str | None = None) -> Path:
    """Return the path of trtexec. Raises EnvironmentFault where it is not installed."""
    for candidate in (path,) if path else (*PATHS, shutil.which("trtexec")):
        if candidate and os.access(candidate, os.X_OK) and Path(candidate).is_file():
            return Path(candidate)
    searched = path or ", ".join((*PATHS, "the PATH"))
    raise EnvironmentFault(f"trtexec is not installed; looked in {searched}.", hint=INSTALL)


# Command lines


def build_argv(
    binary: Path, graph: Path, plan: BuildPlan, engine: Path, layers: Path, cache: Path, help_text: str
) -> list[str]:
    """Return the command that builds an engine; `help_text` shows whether the binary has the option --noTF32.

    Raises EnvironmentFault where TF32 cannot be switched off and the plan does not allow it.
    """
    argv = [
        str(binary), f"--onnx={graph}", f"--saveEngine={engine}", "--stronglyTyped", "--skipInference",
        "--profilingVerbosity=detailed", f"--exportLayerInfo={layers}", f"--timingCacheFile={cache}",
    ]  # fmt: skip
    if "tf32" not in plan.precision.split("+"):
        if "--noTF32" not in help_text:
            raise EnvironmentFault(
                "this trtexec cannot switch TF32 off, so products of floats would silently lose bits.",
                hint="use the Python module, which can: sudo apt-get install python3-libnvinfer",
            )
        argv.append("--noTF32")
    for option, limit in (("--minShapes", "min"), ("--optShapes", "opt"), ("--maxShapes", "max")):
        if plan.profiles:
            sizes = {profile.input: getattr(profile, limit) for profile in plan.profiles}
            argv.append(f"{option}={shapes(sizes)}")
    if plan.optimization_level is not None:
        argv.append(f"--builderOptimizationLevel={plan.optimization_level}")
    if plan.workspace_mb is not None:
        argv.append(f"--memPoolSize=workspace:{plan.workspace_mb}")
    argv.append(f"--sparsity={'enable' if plan.sparse else 'disable'}")
    if plan.dla_core is not None:
        argv.append(f"--useDLACore={plan.dla_core}")
        argv += ["--allowGPUFallback"] if plan.gpu_fallback else []
    return argv


def times_argv(
    binary: Path,
    engine: Path,
    sizes: Mapping[str, Sequence[int]],
    times: Path,
    *,
    seconds: float,
    warm_up_ms: int = 500,
) -> list[str]:
    """Return the command that times an engine, with every option that changes a number."""
    return [
        str(binary), f"--loadEngine={engine}", *_sized(sizes), f"--warmUp={warm_up_ms}",
        f"--duration={max(1, round(seconds))}", "--iterations=10", "--avgRuns=1", "--infStreams=1",
        "--percentile=50,90,99", *TIMING_OPTIONS, f"--exportTimes={times}",
    ]  # fmt: skip


def profile_argv(binary: Path, engine: Path, sizes: Mapping[str, Sequence[int]], profile: Path) -> list[str]:
    """Return the command that times each layer; in a separate run, as the profiler slows the engine down."""
    return [
        str(binary), f"--loadEngine={engine}", *_sized(sizes), "--warmUp=200", "--duration=1", "--iterations=10",
        "--infStreams=1", "--noDataTransfers", "--separateProfileRun", "--profilingVerbosity=detailed",
        f"--exportProfile={profile}",
    ]  # fmt: skip


def outputs_argv(
    binary: Path, engine: Path, sizes: Mapping[str, Sequence[int]], inputs: Mapping[str, Path], outputs: Path
) -> list[str]:
    """Return the command that runs an engine once on given inputs and writes its outputs."""
    loaded = ",".join(f"{_quoted(name)}:{path}" for name, path in inputs.items())
    return [
        str(binary), f"--loadEngine={engine}", *_sized(sizes), f"--loadInputs={loaded}", "--warmUp=0", "--duration=0",
        "--iterations=1", "--infStreams=1", f"--exportOutput={outputs}",
    ]  # fmt: skip


def shapes(sizes: Mapping[str, Sequence[int]]) -> str:
    """Return shapes in trtexec's notation: `ids:1x128,'mask:0':1x128`."""
    return ",".join(f"{_quoted(name)}:{'x'.join(map(str, size))}" for name, size in sizes.items())


def _sized(sizes: Mapping[str, Sequence[int]]) -> list[str]:
    return [f"--shapes={shapes(sizes)}"] if sizes else []


def _quoted(name: str) -> str:
    return f"'{name}'" if ":" in name or "," in name else name


# A run


def run(argv: Sequence[str], log: Path, *, timeout_s: float, activity: str, partial: Sequence[Path] = ()) -> str:
    """Run trtexec and return its output, which is also written to `log`.

    Raises BuildError with the last lines when it fails, takes too long or does not write one of the files `partial`;
    then these files are removed.
    """
    for path in partial:
        path.unlink(missing_ok=True)
    fault = None
    with log.open("wb") as stream:
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, timeout=timeout_s, check=False
            )
            code = done.returncode
            if code:
                fault = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            fault = f"took longer than {timeout_s:g} s and was stopped"
        except OSError as error:
            fault = f"does not start: {error.strerror or error}"
    output = log.read_text(errors="replace")
    missing = [path.name for path in partial if not path.is_file() or not path.stat().st_size]
    if fault is None and missing:
        fault = f"reported success but did not write {', '.join(missing)}"
    if fault is not None:
        for path in partial:
            path.unlink(missing_ok=True)
        message = f"trtexec {fault} while {activity}. Its last lines:{_last_lines(output)}"
        raise BuildError(message, hint=_hint(output), log=str(log))
    return output


def read_help(binary: Path, log: Path) -> str:
    """Return trtexec's help: the version in the first line, then the options. Its exit code has no meaning."""
    try:
        done = subprocess.run(
            [str(binary), "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=HELP_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFault(f"'{binary}' cannot be run: {error}.", hint=INSTALL) from error
    text = (done.stdout + done.stderr).decode(errors="replace")
    log.write_text(text)
    if version_of(text) is None:
        raise EnvironmentFault(f"'{binary}' is not trtexec: it does not print its version.", hint=INSTALL)
    return text


def version_of(output: str) -> str | None:
    """Return the version in the first line of an output: `[TensorRT v100300]` is 10.3.0, `v8602` is 8.6.2."""
    match = _VERSION.search(output)
    if not match:
        return None
    if "." in match[1]:
        return ".".join(match[1].split(".")[:3])
    number, step = int(match[1]), 10_000 if len(match[1]) > 4 else 1000
    return f"{number // step}.{number % step // 100}.{number % 100}"


def _last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("&&&&")]
    errors = [line for line in lines if "[E]" in line]
    return "".join(f"\n  {line}" for line in (errors or lines)[-LAST_LINES:]) or "\n  it printed nothing"


def _hint(output: str) -> str:
    text = output.lower()
    if "out of memory" in text or "insufficient memory" in text:
        return "close other programs on the board, or export again with the option workspace_mb of tensorrt"
    if "failed to parse" in text:
        return "the board's parser rejects the graph: choose another recipe, or install a newer JetPack"
    return "the log in the context has its whole output"


# Output files


def read_times(path: Path) -> Times:
    """Read `--exportTimes`. Raises BuildError for a file that is not one."""
    fields = {"latency_ms": "latencyMs", "compute_ms": "computeMs", "h2d_ms": "h2dMs", "d2h_ms": "d2hMs"}
    try:
        entries = _json(path)
        times = {ours: tuple(float(entry[theirs]) for entry in entries) for ours, theirs in fields.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"trtexec's times '{path.name}' cannot be read: {error}.") from error
    if not times["latency_ms"]:
        raise BuildError(f"trtexec's times '{path.name}' are empty.")
    return Times(**times)


def read_profile(path: Path, layers: Sequence[CompiledLayer] = ()) -> tuple[LayerTime, ...]:
    """Read `--exportProfile`: the median of each layer, with kind and type from the layer information."""
    known = {layer.name: layer for layer in layers}
    try:
        entries = [entry for entry in _json(path) if "name" in entry]
        return tuple(
            LayerTime(
                name=entry["name"],
                kind=known[entry["name"]].kind if entry["name"] in known else "unknown",
                precision=(known[entry["name"]].computes_in if entry["name"] in known else None) or "unknown",
                time_ms=float(entry.get("medianMs", entry["averageMs"])),
            )
            for entry in entries
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"trtexec's profile '{path.name}' cannot be read: {error}.") from error


def read_outputs(path: Path, dtypes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read `--exportOutput` into arrays of `dtypes`, by name. The numbers in the file have six digits."""
    import numpy as np

    try:
        entries = {entry["name"]: entry for entry in _json(path)}
        return {
            name: np.asarray(entries[name]["values"], dtype=np.float64 if np.dtype(dtype).kind == "f" else None)
            .astype(dtype)
            .reshape(_dimensions(entries[name]["dimensions"]))
            for name, dtype in dtypes.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"trtexec's outputs '{path.name}' cannot be read: {error}.") from error


def _dimensions(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x") if part)


def _json(path: Path) -> Any:
    """Read trtexec's JSON, in which C++ prints `nan` and `inf`."""
    text = re.sub(r"(?<=[\s,\[:])(-?)nan\b", "NaN", path.read_text())
    return json.loads(re.sub(r"(?<=[\s,\[:])(-?)inf\b", r"\1Infinity", text))
