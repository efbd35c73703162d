"""Deploy for a test, which skips where the wheels cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgekit.device import deploy
from edgekit.device.deploy import Outcome, Settings
from edgekit.device.fleet import Device


def deployed(bundle: Path, devices: Sequence[Device], settings: Settings) -> tuple[Outcome, ...]:
    outcomes = deploy.deploy(bundle, devices, settings)
    for one in outcomes:
        if one.fault and "index cannot be reached" in one.fault["message"]:
            pytest.skip(one.fault["message"])
    return outcomes
