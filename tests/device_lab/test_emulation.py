"""The lab itself: what the emulated boards are, and that edgekit knows them for emulated."""

from __future__ import annotations

import pytest

from edgekit.device import Board, connect
from tests.device_lab.board import CPUS


@pytest.mark.parametrize("cpu", CPUS)
def test_a_board_is_an_arm_board_over_ssh(board, cpu: str) -> None:
    emulated = board(cpu)
    with connect(emulated.address) as transport, Board(transport) as here:
        done = here.step("look", ["python3", "-c", "import os, platform; print(os.getcwd(), platform.machine())"],
                         timeout_s=60)  # fmt: skip
        cpuinfo = transport.run(["cat", "/proc/cpuinfo"], timeout_s=20).text
        here.clean()
    assert done.text == "/home/pi/.cache/edgekit-device aarch64\n"
    assert f"CPU part\t: {CPUS[cpu].part}" in cpuinfo
    assert not list(emulated.home.rglob("edgekit*"))
