"""A small real bundle, exported through the real ONNX Runtime backend, and ways to run the command line."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekit.cli import cli
from edgekit.result.report import Report
from tests.bundles import pictures, texts

REPORTS = Path(__file__).parent.parent / "fixtures" / "reports"


@pytest.fixture
def run():
    """Run the command line in this process."""

    # click before 8.2 mixes stderr into stdout unless this option is set; later ones do not have it.
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}

    def invoke(*args: object, stdin: str | None = None) -> Result:
        return CliRunner(**apart).invoke(cli, [str(arg) for arg in args], input=stdin)

    return invoke


@pytest.fixture
def shell(tmp_path):
    """Run the command line as a process of its own."""

    def start(*args: object, env: dict[str, str] | None = None, cwd: Path = tmp_path, **kwargs):
        command = [sys.executable, "-m", "edgekit.cli", *map(str, args)]
        return subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=120, **kwargs
        )

    return start


@pytest.fixture(scope="session")
def report() -> Report:
    return Report.load(REPORTS / "minilm.json")


@dataclass(frozen=True)
class PictureBundle:
    path: Path
    image: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> PictureBundle:
    """Return a bundle that distinguishes pictures bright at the top from those bright at the bottom, and such a
    picture.
    """
    image = pytest.importorskip("PIL.Image")
    base = tmp_path_factory.mktemp("bundle")
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 255
    image.fromarray(pixels).save(base / "top.png")
    return PictureBundle(pictures(base), base / "top.png")


@pytest.fixture(scope="session")
def sentences(tmp_path_factory) -> Path:
    """Return a bundle that embeds texts by counting their words, exported with data whose columns were `a` and `b`."""
    return texts(tmp_path_factory.mktemp("sentences"))
