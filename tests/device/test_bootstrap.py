"""What a private environment is sent: the packages that are not there, if they fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.device.environment import bootstrap
from edgekit.device.transport import Completed
from edgekit.errors import DeviceError
from edgekit.progress import Silent
from tests.wording import raises


class Device:
    """A device that has some packages and some room, and records what it is sent."""

    def __init__(self, *there: str, free_kb: int) -> None:
        self.transport = SimpleNamespace(address="ssh://board")
        self.pushed: list[tuple[str, bool]] = []
        self._answer = "\n".join([*there, f"free={free_kb}"])

    def step(self, name: str, argv: list[str], *, timeout_s: float) -> Completed:
        return Completed(0, self._answer.encode(), b"")

    def push_folder(self, source: Path, name: str, *, timeout_s: float, packed: bool) -> str:
        self.pushed.append((name, packed))
        return name


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    for name in ("click-8.1.7", "numpy-2.4.6"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.py").write_bytes(b"x" * 2_000_000)
    return {"aa": tmp_path / "click-8.1.7", "bb": tmp_path / "numpy-2.4.6"}


def test_a_package_that_is_there_is_not_sent_again(packages: dict[str, Path]) -> None:
    device = Device("aa", "gzip", free_kb=100_000)
    bootstrap._send(device, packages, Silent())  # type: ignore[arg-type]
    assert device.pushed == [("packages/bb", True)]


def test_a_device_without_gzip_is_sent_plain_bytes(packages: dict[str, Path]) -> None:
    device = Device(free_kb=100_000)
    bootstrap._send(device, packages, Silent())  # type: ignore[arg-type]
    assert device.pushed == [("packages/aa", False), ("packages/bb", False)]


def test_what_does_not_fit_as_a_whole_is_not_begun(packages: dict[str, Path]) -> None:
    device = Device(free_kb=3000)
    with raises(DeviceError, ("5.8 MB", "ssh://board", "2.9 MB")):
        bootstrap._send(device, packages, Silent())  # type: ignore[arg-type]
    assert device.pushed == []
