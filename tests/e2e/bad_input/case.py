"""One bad input: how it is prepared, the command, and what the command must say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.wording import Fact

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "edgekit" / "embedded" / "digits"
SAVED = ROOT / "tests" / "fixtures" / "transformers5"

BUNDLE = "bundle"
"""Where a case that needs a bundle finds one: `digits`, built with onnxruntime/fp32."""

OUTPUT = "out"

Prepare = Callable[[Path], "list[str] | None"]


@dataclass(frozen=True)
class Case:
    """A command that must fail with `code`, one message and one hint, leaving nothing behind."""

    name: str
    code: int
    message: Fact
    """The facts that the error's text must hold; its wording is in `tests/fixtures/wording.txt`."""
    hint: Fact
    argv: tuple[str, ...] = ()
    prepare: Prepare | None = None
    """Makes the files in the folder it is given; may give the command, where it is not `argv`."""
    bundle: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: str = ""
    """Shell lines run in a mount namespace of its own before the command: a small or read-only file system."""

    @property
    def alone(self) -> bool:
        """Return whether it needs a process of its own."""
        return bool(self.mounts or self.env)

    def set_up(self, folder: Path, bundle: Path) -> list[str]:
        """Prepare the files in `folder` and give the command's arguments."""
        if self.bundle:
            shutil.copytree(bundle, folder / BUNDLE)
        return (self.prepare(folder) if self.prepare else None) or list(self.argv)

    def run(self, argv: list[str], folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
        """Run the command in a process of its own; what is left on file systems of its own follows on stdout."""
        command = [sys.executable, "-m", "edgekit.cli", *argv]
        if self.mounts:
            script = (
                f'set -e\n{self.mounts}\nset +e\n"$@"\ncode=$?\nfind full fixed -mindepth 1 2>/dev/null\nexit $code'
            )
            command = ["unshare", "-Urm", "sh", "-c", script, "sh", *command]
        places = {"EDGEKIT_CACHE_DIR": str(cache), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment = {**os.environ, **places, **self.env}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )


CASES: list[Case] = []


def case(name: str, code: int, message: Fact, hint: Fact, *argv: str, **more: object) -> None:
    """Add a case that needs no files of its own."""
    CASES.append(Case(name, code, message, hint, argv, **more))  # type: ignore[arg-type]


def prepared(
    name: str, code: int, message: Fact, hint: Fact, *argv: str, **more: object
) -> Callable[[Prepare], Prepare]:
    """Add a case whose files the decorated function makes."""

    def add(function: Prepare) -> Prepare:
        case(name, code, message, hint, *argv, prepare=function, **more)
        return function

    return add


def export(*more: str) -> tuple[str, ...]:
    """Return the shortest export there is, with more arguments."""
    return ("export", *more, "--output", OUTPUT, "--no-bench", "--candidate", "onnxruntime/fp32")
