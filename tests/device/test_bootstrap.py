"""Sending packages to a private environment: those that the device lacks, where they fit on its disk."""

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
    """A lock on a device with some packages and some free space; it records what is sent."""

    def __init__(self, *present: str, free_kb: int) -> None:
        self.transport = SimpleNamespace(address="ssh://board")
        self.pushed: list[tuple[str, bool]] = []
        self._inventory = "\n".join([*present, f"free={free_kb}"])

    def step(self, name: str, argv: list[str], *, timeout_s: float) -> Completed:
        return Completed(0, self._inventory.encode(), b"")

    def push_folder(self, source: Path, name: str, *, timeout_s: float, packed: bool) -> str:
        self.pushed.append((name, packed))
        return name


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    for name in ("click-8.1.7", "numpy-2.4.6"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.py").write_bytes(b"x" * 2_000_000)
    return {"aa": tmp_path / "click-8.1.7", "bb": tmp_path / "numpy-2.4.6"}


def test_a_package_that_the_device_has_is_not_sent_again(packages: dict[str, Path]) -> None:
    device = Device("aa", "gzip", free_kb=100_000)
    bootstrap._send(device, packages, Silent())  # type: ignore[arg-type]
    assert device.pushed == [("packages/bb", True)]


def test_a_device_without_gzip_is_sent_plain_bytes(packages: dict[str, Path]) -> None:
    device = Device(free_kb=100_000)
    bootstrap._send(device, packages, Silent())  # type: ignore[arg-type]
    assert device.pushed == [("packages/aa", False), ("packages/bb", False)]


def test_nothing_is_sent_where_not_everything_fits(packages: dict[str, Path]) -> None:
    device = Device(free_kb=3000)
    with raises(DeviceError, ("5.8 MB", "ssh://board", "2.9 MB")):
        bootstrap._send(device, packages, Silent())  # type: ignore[arg-type]
    assert device.pushed == []
