"""Sides to judge, made of synthetic latencies with known parameters."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.report.compare import Side
from edgekit.result.report import Report

sys.path.insert(0, str(Path(__file__).parent))

REPORTS = Path(__file__).parent.parent / "fixtures" / "reports"


@pytest.fixture(scope="session")
def report() -> Report:
    return Report.load(REPORTS / "minilm.json")


@pytest.fixture
def side(report):
    """Return a function that makes sides: of one report each, or of one run where `run` is the same."""
    runs: dict[object, Report] = {}

    def make(source: str, measured, run: object = None) -> Side:
        own = runs.setdefault(run if run is not None else source, replace(report, notes=(str(run or source),)))
        return Side(source, own, replace(report.shipped, measurement=measured))

    return make
