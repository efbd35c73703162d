"""Deploy for a test, and skip the test where no package index can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgekit.device import deploy
from edgekit.device.deploy import Outcome, Settings
from edgekit.device.fleet import Device


def deployed(bundle: Path, devices: Sequence[Device], settings: Settings) -> tuple[Outcome, ...]:
    outcomes = deploy.deploy(bundle, devices, settings)
    for outcome in outcomes:
        if outcome.fault and "index cannot be reached" in outcome.fault["message"]:
            pytest.skip(outcome.fault["message"])
    return outcomes
