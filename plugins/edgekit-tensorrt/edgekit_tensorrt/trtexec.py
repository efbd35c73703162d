"""NVIDIA's `trtexec`, which every JetPack brings: its command line for each task, its run, and what it writes.

Only options are used that 10.3, 10.16 and 11 have alike. What is measured is always said in full: the defaults changed
in 11 (CUDA graph on, spinning on, transfers off), so all three are switched on by name in every version.
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

PLACES = ("/usr/src/tensorrt/bin/trtexec", "/usr/local/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
INSTALL = "on a Jetson: sudo apt-get install libnvinfer-bin"

MEASURING = ("--useCudaGraph", "--useSpinWait", "--noDataTransfers")
"""How times are taken, in every version: of the GPU's work alone, without copies."""

SPEECH_SECONDS = 60.0
"""How long it may take to print its help; the first start loads 1 GB of libraries from a card."""

LAST_LINES = 8

_VERSION = re.compile(r"\[TensorRT v([\d.]+)\]")


@dataclass(frozen=True)
class Times(Record):
    """What `--exportTimes` holds, in milliseconds, an entry for each inference."""

    latency_ms: tuple[float, ...]
    compute_ms: tuple[float, ...]
    h2d_ms: tuple[float, ...]
    d2h_ms: tuple[float, ...]


def find(path: str | None = None) -> Path:
    """Return the binary. Raises EnvironmentFault where there is none."""
    for place in (path,) if path else (*PLACES, shutil.which("trtexec")):
        if place and os.access(place, os.X_OK) and Path(place).is_file():
            return Path(place)
    looked = path or ", ".join((*PLACES, "the PATH"))
    raise EnvironmentFault(f"there is no trtexec here; looked in {looked}.", hint=INSTALL)


# Command lines


def build_argv(
    binary: Path, graph: Path, plan: BuildPlan, engine: Path, layers: Path, cache: Path, known: str
) -> list[str]:
    """Return the command that builds an engine; `known` is the binary's help, for the one option that not all may have.

    Raises EnvironmentFault where TF32 cannot be switched off and the plan does not allow it.
    """
    argv = [
        str(binary), f"--onnx={graph}", f"--saveEngine={engine}", "--stronglyTyped", "--skipInference",
        "--profilingVerbosity=detailed", f"--exportLayerInfo={layers}", f"--timingCacheFile={cache}",
    ]  # fmt: skip
    if "tf32" not in plan.precision.split("+"):
        if "--noTF32" not in known:
            raise EnvironmentFault(
                "this trtexec cannot switch TF32 off, so float products would lose bits in silence.",
                hint="sudo apt-get install python3-libnvinfer: the Python module can",
            )
        argv.append("--noTF32")
    for option, which in (("--minShapes", "min"), ("--optShapes", "opt"), ("--maxShapes", "max")):
        if plan.profiles:
            argv.append(f"{option}={shapes({one.input: getattr(one, which) for one in plan.profiles})}")
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
    """Return the command that times an engine, every option that changes a number written out."""
    return [
        str(binary), f"--loadEngine={engine}", *_sized(sizes), f"--warmUp={warm_up_ms}",
        f"--duration={max(1, round(seconds))}", "--iterations=10", "--avgRuns=1", "--infStreams=1",
        "--percentile=50,90,99", *MEASURING, f"--exportTimes={times}",
    ]  # fmt: skip


def profile_argv(binary: Path, engine: Path, sizes: Mapping[str, Sequence[int]], profile: Path) -> list[str]:
    """Return the command that times each layer; in a run of its own, as the profiler slows what it times."""
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
    """Write shapes as trtexec reads them: `ids:1x128,'mask:0':1x128`."""
    return ",".join(f"{_quoted(name)}:{'x'.join(map(str, size))}" for name, size in sizes.items())


def _sized(sizes: Mapping[str, Sequence[int]]) -> list[str]:
    return [f"--shapes={shapes(sizes)}"] if sizes else []


def _quoted(name: str) -> str:
    return f"'{name}'" if ":" in name or "," in name else name


# A run


def run(argv: Sequence[str], log: Path, *, timeout_s: float, doing: str, partial: Sequence[Path] = ()) -> str:
    """Run it and give all it said, which `log` keeps.

    Raises BuildError with the last lines when it fails, takes too long or leaves one of the files `partial` unwritten;
    what it left of them is removed then.
    """
    for path in partial:
        path.unlink(missing_ok=True)
    why = None
    with log.open("wb") as stream:
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, timeout=timeout_s, check=False
            )
            code = done.returncode
            if code:
                why = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        except subprocess.TimeoutExpired:
            why = f"took longer than {timeout_s:g} s and was stopped"
        except OSError as error:
            why = f"does not start: {error.strerror or error}"
    said = log.read_text(errors="replace")
    missing = [path.name for path in partial if not path.is_file() or not path.stat().st_size]
    if why is None and missing:
        why = f"said that all is well and did not write {', '.join(missing)}"
    if why is not None:
        for path in partial:
            path.unlink(missing_ok=True)
        raise BuildError(f"trtexec {why} while {doing}. Its last lines:{_last(said)}", hint=_hint(said), log=str(log))
    return said


def help_of(binary: Path, log: Path) -> str:
    """Return its help: the version in the first line, then its options. Its exit code means nothing there."""
    try:
        done = subprocess.run(
            [str(binary), "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=SPEECH_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFault(f"'{binary}' does not answer: {error}.", hint=INSTALL) from error
    said = (done.stdout + done.stderr).decode(errors="replace")
    log.write_text(said)
    if version_of(said) is None:
        raise EnvironmentFault(f"'{binary}' is no trtexec: it does not say its version.", hint=INSTALL)
    return said


def version_of(said: str) -> str | None:
    """Read the version off the banner: `[TensorRT v100300]` is 10.3.0, `v8602` 8.6.2."""
    found = _VERSION.search(said)
    if not found:
        return None
    if "." in found[1]:
        return ".".join(found[1].split(".")[:3])
    number, step = int(found[1]), 10_000 if len(found[1]) > 4 else 1000
    return f"{number // step}.{number % step // 100}.{number % 100}"


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("&&&&")]
    errors = [line for line in lines if "[E]" in line]
    return "".join(f"\n  {line}" for line in (errors or lines)[-LAST_LINES:]) or "\n  it said nothing"


def _hint(said: str) -> str:
    text = said.lower()
    if "out of memory" in text or "insufficient memory" in text:
        return "close other programs on the board, or export again with the option workspace_mb of tensorrt"
    if "failed to parse" in text:
        return "the board's parser refuses the graph: choose another recipe, or a newer JetPack"
    return "the log in the context has all that it said"


# What it writes


def times_of(path: Path) -> Times:
    """Read `--exportTimes`. Raises BuildError for a file that is not one."""
    fields = {"latency_ms": "latencyMs", "compute_ms": "computeMs", "h2d_ms": "h2dMs", "d2h_ms": "d2hMs"}
    try:
        entries = _json(path)
        found = {ours: tuple(float(entry[theirs]) for entry in entries) for ours, theirs in fields.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"trtexec's times '{path.name}' cannot be read: {error}.") from error
    if not found["latency_ms"]:
        raise BuildError(f"trtexec's times '{path.name}' are empty.")
    return Times(**found)


def profile_of(path: Path, layers: Sequence[CompiledLayer] = ()) -> tuple[LayerTime, ...]:
    """Read `--exportProfile`: the median of each layer, with kind and type from the layer information."""
    known = {one.name: one for one in layers}
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


def outputs_of(path: Path, dtypes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read `--exportOutput` into arrays of `dtypes`, by name. Its numbers have six digits."""
    import numpy as np

    try:
        entries = {entry["name"]: entry for entry in _json(path)}
        return {
            name: np.asarray(entries[name]["values"], dtype=np.float64 if np.dtype(kind).kind == "f" else None)
            .astype(kind)
            .reshape(_dimensions(entries[name]["dimensions"]))
            for name, kind in dtypes.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"trtexec's outputs '{path.name}' cannot be read: {error}.") from error


def _dimensions(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x") if part)


def _json(path: Path) -> Any:
    """Read its JSON, in which C++ prints `nan` and `inf`."""
    text = re.sub(r"(?<=[\s,\[:])(-?)nan\b", "NaN", path.read_text())
    return json.loads(re.sub(r"(?<=[\s,\[:])(-?)inf\b", r"\1Infinity", text))
