"""What every test shares: a private cache and home, no network, and the real weights where they are."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: the tests of interruption would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def private_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and config out of the tests, and the tests out of the user's."""
    base = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(base / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(base / "config"))
    monkeypatch.delenv("EDGEKIT_TARGETS", raising=False)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Give the folder of real weights and data, or skip with the reason."""
    folder = Path(os.environ.get("EDGEKIT_TEST_ASSETS") or ROOT.parent / "shared" / "assets")
    if not folder.is_dir():
        pytest.skip(f"no test assets at {folder}; set EDGEKIT_TEST_ASSETS")
    return folder
