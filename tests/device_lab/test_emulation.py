"""The lab itself: what the emulated boards are, and that edgekit knows them for emulated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edgekit
from edgekit.device import Board, connect
from tests.device_lab.board import CPUS

EMULATED = """
import json, os, pathlib, sys
sys.path.insert(0, "source")
from edgekit import host
from edgekit.bench.environment import emulated

found = host.probe()
signs = {"together": emulated()}
for name in ("thread-self", str(os.getppid())):  # each of the two alone, in a tree where the kernel's list is ARM's
    place = pathlib.Path("/tmp/tree") / name / "proc" / name
    place.mkdir(parents=True)
    (place / "exe").symlink_to(os.readlink(f"/proc/{name}/exe"))
    signs[name if name == "thread-self" else "parent"] = emulated(place.parents[1])
print(json.dumps({"folder": os.getcwd(), "arch": found.arch, "cpu": found.cpu, "isa": found.isa, "signs": signs}))
"""

ISA = {"cortex-a53": ["neon"], "cortex-a72": ["neon"], "cortex-a76": ["dotprod", "fp16", "neon"]}


@pytest.mark.parametrize("cpu", CPUS)
def test_edgekit_on_a_board_over_ssh_knows_its_processor_and_that_it_is_emulated(
    board, cpu: str, tmp_path: Path
) -> None:
    leave = shutil.ignore_patterns("__pycache__", "embedded", "passes", "sources", "cli", "testing")
    shutil.copytree(Path(edgekit.__file__).parent, tmp_path / "source" / "edgekit", ignore=leave)
    emulated = board(cpu)
    with connect(emulated.address) as transport, Board(transport) as here:
        here.push_folder(tmp_path / "source", "source")
        done = here.step("probe", ["python3", "-c", EMULATED], timeout_s=120)
        here.clean()
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["folder"] == "/home/pi/.cache/edgekit-device"
    assert found["arch"] == "aarch64"
    assert found["cpu"] == cpu.replace("cortex-a", "Cortex-A")
    assert found["isa"] == ISA[cpu]
    assert found["signs"] == {"together": True, "thread-self": True, "parent": True}
    assert not list(emulated.home.rglob("edgekit*")), "clean left something behind"
