"""The tools of the suite, in the order of the table, and the environment that each lives in."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import UsageError, nearest
from models.place import BENCHMARKS, work
from suite import makers

HERE = "here"
"""The environment that the suite itself runs in: where the locked versions are those that a tool would be given."""

COMMON = ("torch==2.13.0", "transformers==4.57.6", "numpy==2.4.6")

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "olive": ("olive-ai==0.13.0", "onnxruntime==1.32.0", "onnx==1.23.2", "datasets==5.0.1", *COMMON),
    "sklearn": ("scikit-learn==1.9.1", "skl2onnx==1.20.0", "onnx==1.23.2"),
    "executorch": ("executorch==1.4.1", "torchao==0.18.0", "safetensors==0.8.0", *COMMON),
    "translation-ctranslate2": ("ctranslate2==4.8.5", "sentencepiece==0.2.3", *COMMON),
    "translation-optimum": (
        "optimum-onnx==0.1.0", "optimum==2.1.0", "onnxruntime==1.32.0", "onnx==1.23.2", "sentencepiece==0.2.3", *COMMON,
    ),
    "translation-openvino": (
        "optimum-intel[openvino]==1.27.0", "openvino==2026.4.1", "sentencepiece==0.2.3", *COMMON[:2],
    ),
    "text-llama": ("llama-cpp-python==0.3.36", "gguf", "safetensors==0.8.0", "numpy==2.4.6"),
    "text-openvino": ("openvino-genai==2026.4.1.0", "openvino==2026.4.1", "numpy==2.4.6"),
}  # fmt: skip
"""Virtual environments below the work folder, by name, and what pip is asked for; `olive optimize` imports datasets,
which olive-ai does not ask for.
"""


@dataclass(frozen=True)
class Tool:
    """One way to an artifact."""

    name: str
    title: str
    make: Callable[[Path, Path, Path], makers.Made] | None
    """What runs in its environment; None for ours, which is edgekit's own command."""
    packages: tuple[str, ...]
    """Whose versions the table tells, and which decide the artifact."""
    environment: str = HERE


_OPTIMUM = ("optimum-onnx", "optimum", "onnxruntime")
_XNNPACK = ("executorch", "torch")
_OURS = ("edgekit", "onnxruntime", "openvino", "optimum-onnx", "nncf", "torch", "transformers", "onnx")

TOOLS: tuple[Tool, ...] = (
    Tool("edgekit", "edgekit export", None, _OURS),
    Tool("torch", "torch, eager", makers.make_torch, ("torch",)),
    Tool("onnxruntime", "ONNX Runtime fp32", makers.make_onnx, ("onnxruntime", "optimum-onnx", "torch")),
    Tool("ort-dynamic", "optimum dynamic int8", makers.make_ort_dynamic, _OPTIMUM),
    Tool("ort-static", "optimum static int8, defaults", makers.make_ort_static, _OPTIMUM),
    Tool("ort-static-matmul", "optimum static int8, MatMul/Gemm/Conv", makers.make_ort_static_matmul, _OPTIMUM),
    Tool("openvino", "OpenVINO, its default", makers.make_openvino, ("openvino",)),
    Tool("openvino-f32", "OpenVINO, f32 asked", makers.make_openvino_f32, ("openvino",)),
    Tool("nncf", "NNCF defaults, OpenVINO", makers.make_nncf, ("nncf", "openvino")),
    Tool("olive", "Olive auto-opt, int8", makers.make_olive, ("olive-ai", "onnxruntime"), "olive"),
    Tool("olive-optimize", "Olive optimize, int8", makers.make_olive_optimize, ("olive-ai", "onnxruntime"), "olive"),
    Tool("executorch", "ExecuTorch XNNPACK fp32", makers.make_executorch, _XNNPACK, "executorch"),
    Tool("executorch-int8", "ExecuTorch XNNPACK int8", makers.make_executorch_int8, _XNNPACK, "executorch"),
)  # fmt: skip

OURS, ORIGINAL, BASELINE = "edgekit", "torch", "onnxruntime"
"""The tool that must not lose, the one whose quality the others are held against, and the one that speed is told in."""


def choose(asked: str) -> list[Tool]:
    """Read names joined by commas, or `all`; the baseline is always among them, since ratios need it."""
    known = {tool.name: tool for tool in TOOLS}
    words = list(known) if asked == "all" else [*asked.split(","), BASELINE]
    for word in words:
        if word not in known:
            raise UsageError(
                f"no tool is named '{word}'.{nearest(word, known)}", hint=f"known: {', '.join(known)}, all"
            )
    return [tool for tool in TOOLS if tool.name in words]


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment, which is made if it is not there. Raises UsageError when pip fails."""
    if environment == HERE:
        return Path(sys.executable)
    pins = ENVIRONMENTS[environment]
    folder = work() / "environments" / environment
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:  # two runs of the suite would install into one folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = folder / "pins.txt"
        if not (record.is_file() and record.read_text().split() == list(pins)):
            print(f"environment '{environment}': installing {', '.join(pins)}", file=sys.stderr)
            _install(folder, pins, work() / "logs" / f"environment-{environment}.log")
            record.write_text("\n".join(pins) + "\n")
    return folder / "bin" / "python"


def _install(folder: Path, pins: Sequence[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    # Not written aside and renamed: a virtual environment holds its own path. The record at the end makes it whole.
    with log.open("w") as file:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *pins],
        ):
            if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
                raise UsageError(f"the environment '{folder.name}' does not install: {last_lines(log)}")


def variables() -> dict[str, str]:
    """Return the environment variables for a process in any interpreter: the checkout to import from, no telemetry."""
    root = BENCHMARKS.parent
    paths = (BENCHMARKS, root, *sorted(root.glob("plugins/*")))
    # Offline unless the user says otherwise: `olive optimize` calibrates on a data set that it takes from the hub.
    quiet = {
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
        "ORT_DISABLE_TELEMETRY": "1",
        "CI": "true",
        "TOKENIZERS_PARALLELISM": "false",
    }
    cache = {"HF_DATASETS_CACHE": str(work() / "datasets"), "EDGEKIT_CACHE_DIR": str(work() / "cache")}
    return {**os.environ, **quiet, **cache, "PYTHONPATH": os.pathsep.join(map(str, paths))}


def last_lines(log: Path, count: int = 2) -> str:
    """Return the last error that a log names and its last lines, on one line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip(" -=^~\t")]
    lines = [line for line in lines if not re.match(r"[IW]\d{4} ", line)]  # glog's information and warnings
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|error)\b.*: ", line)]
    shown = list(dict.fromkeys([*errors[-1:], *lines[-count:]]))
    text = " / ".join(line[:300] for line in shown) or "it said nothing"
    return text.replace(str(work()), "WORK").replace(str(BENCHMARKS.parent), ".")  # a page is read on other machines
