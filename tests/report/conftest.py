"""A report to render, written by hand: it has a candidate of every status, and its numbers are not measured.

Latencies and scores are of the size that MiniLM has on two cores of a Xeon; the rest is invented.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.result.report import Report


@pytest.fixture(scope="session")
def report() -> Report:
    return Report.load(Path(__file__).parent.parent / "fixtures" / "reports" / "minilm.json")
