"""A report to render, put together by hand: it shows every way in which a candidate can fare, and proves no number.

Latencies and scores are of the size that MiniLM has on two cores of a Xeon; the rest is made up.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.result.report import Report


@pytest.fixture(scope="session")
def report() -> Report:
    return Report.load(Path(__file__).parent.parent / "fixtures" / "reports" / "minilm.json")
