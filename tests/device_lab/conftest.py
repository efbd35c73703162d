"""The fixtures of the device lab: emulated boards, started on first use and shared by the tests of one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.device_lab import image
from tests.device_lab.board import EmulatedBoard
from tests.device_lab.expect import left_here
from tests.device_lab.lab import Lab


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab; the test is skipped, with the reason, where this machine cannot have one."""
    try:
        lab = Lab(image.folder())
        lab.board("cortex-a72")
    except image.Unavailable as error:
        pytest.skip(f"no device_lab: {error}")
    yield lab
    lab.close()


@pytest.fixture
def board(lab: Lab, ssh_config: Path) -> Callable[[str], EmulatedBoard]:
    """A function that returns the running board of a processor: `board("cortex-a76").address`."""
    return lab.board


@pytest.fixture
def spare(lab: Lab, ssh_config: Path) -> Iterator[EmulatedBoard]:
    """A board of the test's own, to break."""
    with lab.spare() as board:
        yield board


@pytest.fixture
def ssh_config(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let ssh, here and in what a test starts, read the lab's config and not the user's."""
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(lab.config))
    return lab.config


@pytest.fixture(autouse=True)
def nothing_stays_here() -> Iterator[None]:
    """Assert that a test leaves no folder of a connection behind."""
    yield
    assert not left_here(os.getpid())
