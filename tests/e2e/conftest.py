"""The main job as a stranger does it: the installed command, in processes of its own, with one cache for all."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekit.result.report import Report

COMMAND = Path(sysconfig.get_path("scripts")) / "edgekit"
DATA = Path(__file__).parent.parent.parent / "edgekit" / "embedded" / "digits" / "data"
BRIEF = ("--bench-seconds", "0.3", "--no-mixed", "--no-tune")


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Read stdout, which must be one JSON document and nothing else."""
        return json.loads(self.stdout)

    @property
    def report(self) -> Report:
        return Report.from_dict(self.json["report"])


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the commands run in."""
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def common_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Share the commands' cache among all workers: a step that one has made is taken by the others."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "e2e-cache"


@pytest.fixture(scope="session")
def command(place: Path, common_cache: Path):
    """Run the installed `edgekit`; `code` is the exit code that it must give, None for any."""

    def run(*args: object, code: int | None = 0, cwd: Path = place, env: dict[str, str] | None = None) -> Finished:
        whole = {**os.environ, "EDGEKIT_CACHE_DIR": str(common_cache), "HF_HUB_OFFLINE": "1", **(env or {})}
        done = subprocess.run(
            [COMMAND, *map(str, args)], cwd=cwd, env=whole, capture_output=True, text=True, timeout=900
        )
        assert code is None or done.returncode == code, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def shared_cache(common_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this process use the commands' cache."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(common_cache))
    return common_cache


@dataclass(frozen=True)
class Exported:
    """What `edgekit export digits --target host --json` gave."""

    path: Path
    finished: Finished

    @property
    def report(self) -> Report:
        return self.finished.report


@pytest.fixture(scope="session")
def digits(command, place: Path) -> Exported:
    """Export the embedded model for this machine, once."""
    path = place / "out" / "digits"
    return Exported(path, command("export", "digits", "--target", "host", "-o", path, "--json", *BRIEF))
