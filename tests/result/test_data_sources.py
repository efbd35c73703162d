"""Where a report's samples came from: read as earlier versions wrote it, and written under the same keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.data import Draw
from edgekit.errors import UsageError
from edgekit.report import text
from edgekit.result.data_sources import DataSources
from edgekit.result.report import Report
from tests.wording import raises

KEPT = Path(__file__).parent.parent / "fixtures" / "reports" / "digits.json"
"""A report of edgekit 0.1.0 on data for calibration, evaluation and training, whose sources were a plain table."""


def test_an_earlier_report_reads_as_fields() -> None:
    sources = Report.load(KEPT).data
    assert (sources.evaluation, sources.evaluation_samples, sources.labelled) == ("evaluation.npz", 100, True)
    assert sources.evaluation_draw == Draw(calibration=0, most=100, seed=0)
    assert (sources.calibration, sources.calibration_samples) == ("calibration.npz", 300)
    assert (sources.training, sources.training_samples) == ("calibration.npz", 300)
    assert sources.evaluation_digest != sources.calibration_digest and not sources.other


def test_it_is_written_again_as_it_was(tmp_path: Path) -> None:
    Report.load(KEPT).save(tmp_path / "report.json")
    old, new = (json.loads(path.read_text())["data"] for path in (KEPT, tmp_path / "report.json"))
    assert list(new.items()) == list(old.items())


def test_what_was_not_used_is_not_written() -> None:
    assert DataSources().to_dict() == {}
    assert DataSources("synthetic", 8).to_dict() == {"evaluation": "synthetic", "evaluation_samples": 8}


def test_keys_of_another_version_are_kept_and_shown() -> None:
    data = {"evaluation": "val", "evaluated_by": "rows", "other": 3}
    sources = DataSources.from_dict(data)
    assert sources.evaluation == "val" and sources.other == {"evaluated_by": "rows", "other": 3}
    assert sources.to_dict() == data
    assert DataSources.from_dict(sources.to_dict()) == sources
    page = text.render(replace(Report.load(KEPT), data=sources))
    assert "evaluated_by" in page and "rows" in page


@pytest.mark.parametrize("data", [{"evaluation_samples": "8"}, {"evaluation_draw": {"most": 1}}, ["val"]])
def test_values_of_the_wrong_type_are_refused(data: object) -> None:
    with raises(UsageError, "report: data"):
        DataSources.from_dict(data, "report: data")  # type: ignore[arg-type]
