"""The lab itself: the processors of the emulated boards, and that edgekit recognises them as emulated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.device import DeviceLock, connect
from tests.device_lab.board import CPUS, EmulatedBoard

pytestmark = pytest.mark.slow

Boards = Callable[[str], EmulatedBoard]
HERE = Path(edgekit.__file__).parent

PROBE = """
import json, os, sys
sys.path.insert(0, "source")
from edgekit.target import host

board = host.probe()
print(json.dumps({"folder": os.getcwd(), "arch": board.arch, "cpu": board.cpu, "isa": board.isa}))
"""

SIGNS = """
import json, os, pathlib, sys
sys.path.insert(0, "source")
from edgekit.bench.environment import emulated

signs = {"together": emulated()}
for name in ("thread-self", str(os.getppid())):  # each of the two alone, in a tree where the kernel's list is ARM's
    place = pathlib.Path("/tmp/tree") / name / "proc" / name
    place.mkdir(parents=True)
    (place / "exe").symlink_to(os.readlink(f"/proc/{name}/exe"))
    signs[name if name == "thread-self" else "parent"] = emulated(place.parents[1])
print(json.dumps(signs))
"""

ISA = {"cortex-a53": ["neon"], "cortex-a72": ["neon"], "cortex-a76": ["dotprod", "fp16", "neon"]}


def copy_edgekit(folder: Path) -> None:
    """Copy the modules that a board imports to `folder/edgekit`."""
    unused = shutil.ignore_patterns("__pycache__", "embedded", "passes", "sources", "cli", "testing")
    shutil.copytree(HERE, folder / "edgekit", ignore=unused)


def on_board(emulated: EmulatedBoard, source: Path, script: str) -> Any:
    """Push edgekit's modules below `source`, run a script with them on the board, and return what it printed."""
    with connect(emulated.address) as transport, DeviceLock(transport) as lock:
        lock.push_folder(source, "source")
        done = lock.step("look", ["python3", "-c", script], timeout_s=300)
        lock.clean()
    assert done.returncode == 0, done.stderr.decode()
    assert not list(emulated.home.rglob("edgekit*")), "clean left something behind"
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "cpu", [pytest.param(cpu, marks=() if cpu == "cortex-a76" else pytest.mark.nightly) for cpu in CPUS]
)
def test_edgekit_on_a_board_over_ssh_reads_its_processor(board: Boards, cpu: str, tmp_path: Path) -> None:
    copy_edgekit(tmp_path)
    assert on_board(board(cpu), tmp_path, PROBE) == {
        "folder": "/home/pi/.cache/edgekit-device",
        "arch": "aarch64",
        "cpu": cpu.replace("cortex-a", "Cortex-A"),
        "isa": ISA[cpu],
    }


def test_edgekit_on_a_board_recognises_the_emulation(board: Boards, tmp_path: Path) -> None:
    copy_edgekit(tmp_path)
    signs = on_board(board("cortex-a72"), tmp_path, SIGNS)
    assert signs == {"together": True, "thread-self": True, "parent": True}
