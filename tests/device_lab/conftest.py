"""The device lab's fixtures: emulated boards, started on use and shared by the tests of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.device_lab import image
from tests.device_lab.board import EmulatedBoard
from tests.device_lab.lab import Lab


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Give the lab, or skip with the reason why none can be here."""
    try:
        made = Lab(image.folder())
        made.board("cortex-a72")
    except image.Unavailable as error:
        pytest.skip(f"no device_lab: {error}")
    yield made
    made.close()


@pytest.fixture
def board(lab: Lab, ssh_config: Path) -> Callable[[str], EmulatedBoard]:
    """Give the running board of a processor: `board("cortex-a76").address`."""
    return lab.board


@pytest.fixture
def spare(lab: Lab, ssh_config: Path) -> Iterator[EmulatedBoard]:
    """Give a board of its own, to break."""
    with lab.spare() as made:
        yield made


@pytest.fixture
def ssh_config(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let ssh, here and in what a test starts, read the lab's config and not the user's."""
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(lab.config))
    return lab.config
