"""The packages of onnxruntime-genai's model builder, apart from edgekit's own: it needs transformers 5, and the export
transformers 4.57. They are installed on first use, into edgekit's cache, at these versions.

torch, onnx and numpy are those of edgekit's environment, so the folder takes 200 MB and not 2 GB.
"""

from __future__ import annotations

import importlib.machinery
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import BuildError, EnvironmentFault
from edgekit.plugin import cached_step

STEP = "genai-environment"

LOCK = (
    "annotated-doc==0.0.7",
    "annotated-types==0.8.0",
    "httpcore2==2.16.2",
    "httpx2==2.16.2",
    "huggingface-hub==2.4.0",
    "onnxruntime-genai==0.18.0",
    "pydantic==2.14.4",
    "pydantic-core==2.50.5",
    "regex==2026.11.19",
    "safetensors==0.8.0",
    "shellingham==1.5.4",
    "tokenizers==0.23.3",
    "transformers==5.24.0",
    "truststore==0.10.5",
    "typer==0.29.2",
    "typing-inspection==0.4.5",
)
"""Every package that differs from edgekit's environment or is missing there."""

SHOWN_LINES = 4

_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TQDM_DISABLE": "1",
}

_RUN = """
import runpy, sys
count = int(sys.argv[2])
sys.path[:] = [sys.argv[1], *sys.argv[3 : 3 + count]]
sys.argv = ["builder", *sys.argv[3 + count :]]
runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__", alter_sys=True)
"""


def folder() -> Path:
    """Return the folder of the packages; the first call installs them, with pip and its settings.

    Raises EnvironmentFault where they cannot be installed.
    """
    key = hashed([*LOCK, sys.version, platform.machine(), platform.libc_ver()[1]])
    place, _ = cached_step(key, STEP, _install)
    return place / "packages"


def hashed(words: Sequence[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join([STEP, *words]).encode()).hexdigest()


def _install(work: Path) -> None:
    # The path alone is searched: a finder of setuptools would warn here where distutils is loaded.
    if importlib.machinery.PathFinder.find_spec("pip") is None:
        raise EnvironmentFault(
            "the builder of onnxruntime-genai is installed with pip, which this environment lacks.",
            hint=f"{sys.executable} -m ensurepip",
        )
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--target", str(work / "packages"), *LOCK]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise EnvironmentFault(
            f"the packages of onnxruntime-genai's builder could not be installed:\n{last_lines(completed.stderr)}",
            hint="check the network with `pip download --no-deps transformers==5.24.0`, or choose another recipe",
        )


def build(checkpoint: Path, output: Path, scratch: Path, precision: str, extra: Sequence[str]) -> None:
    """Run the model builder on a checkpoint, in a process without a network. Raises BuildError with its last lines."""
    paths = [entry for entry in sys.path if entry]
    words = ["-i", str(checkpoint), "-o", str(output), "-p", precision, "-e", "cpu", "-c", str(scratch)]
    if extra:
        words += ["--extra_options", *extra]
    command = [sys.executable, "-s", "-c", _RUN, str(folder()), str(len(paths)), *paths, *words]
    environment = {**os.environ, **_QUIET, "PYTHONDONTWRITEBYTECODE": "1"}
    completed = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=scratch, stdin=subprocess.DEVNULL
    )
    if completed.returncode:
        raise BuildError(f"onnxruntime-genai's builder cannot convert the model:\n{last_lines(completed.stderr)}")


def last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {line[:300]}" for line in lines[-SHOWN_LINES:])
