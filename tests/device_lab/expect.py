"""Assertions on the faults of a board."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import DeviceError
from tests.device_lab.board import EmulatedBoard
from tests.wording import Fact, raises


@contextlib.contextmanager
def refused(board: EmulatedBoard, *facts: Fact, hint: Fact, within_s: float = 90) -> Iterator[None]:
    """Expect a DeviceError that names the board, with those facts, within `within_s`."""
    started = time.monotonic()
    with raises(DeviceError, f"ssh://{board.name}", *facts, hint=hint):
        yield
    assert time.monotonic() - started < within_s


def left_here(pid: int) -> list[Path]:
    """Return the folders of connections that an edgekit process created here."""
    return list(Path("/tmp").glob(f"edgekit-{pid}-*"))
