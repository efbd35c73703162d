"""Reports side by side: ratios to the baseline, what cannot be compared directly, and the gate on regressions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.errors import UsageError
from edgekit.report.compare import compare as lay
from edgekit.report.compare import markdown, render, sides
from tests.wording import mentions, raises


def compare(reports):
    return lay(sides(reports))


def with_p50(report, p50):
    shipped = report.shipped
    measurement = replace(shipped.measurement, percentiles_ms={"p50": p50}, throughput_per_s=1000 / p50)
    return replace(report, candidates=(replace(shipped, measurement=measurement),))


def test_the_last_is_the_baseline(report):
    comparison = compare([("new", with_p50(report, 1.45)), ("old", report)])
    assert [row.source for row in comparison.rows] == ["old", "new"]
    assert comparison.rows[0].ratios["p50"] == 1.0
    assert comparison.rows[1].ratios["p50"] == pytest.approx(0.5)
    assert comparison.differences == ()


def test_of_a_benchmark_every_bundle_is_compared(report):
    bench = replace(report, kind="bench", candidates=report.candidates[:3])
    comparison = compare([("new", bench), ("old", report)])
    assert len(comparison.rows) == 4
    assert len(compare([("only", bench), ("only", bench)]).rows) == 6


def test_differences_are_listed(report):
    host = replace(report.environment.host, cpu="Other", cores=4)
    packages = {**report.environment.packages, "openvino": "2026.5.0"}
    other = replace(report, target="xeon", environment=replace(report.environment, host=host, packages=packages))
    comparison = compare([("new", other), ("old", report)])
    differences = "\n".join(comparison.differences)
    assert mentions(
        differences, ("target", "xeon", "host"), ("processor", "Other"), ("cores", "4"), ("openvino", "2026.5.0")
    )
    for page in (render(comparison), markdown(comparison)):
        assert mentions(page, "xeon", "new")


def test_noise_is_reported(report):
    shipped = report.shipped
    noisy = replace(shipped.measurement, noise=replace(shipped.measurement.noise, noisy=True))
    comparison = compare([("new", replace(report, candidates=(replace(shipped, measurement=noisy),))), ("old", report)])
    assert mentions(render(comparison), ("noise", "new"))


def test_of_one_benchmark_the_last_bundle_is_the_baseline(report):
    bench = replace(report, kind="bench", candidates=report.candidates[:3])
    comparison = compare([("ab", bench)])
    names = [candidate.name for candidate in bench.candidates]
    assert [row.source for row in comparison.rows] == [names[2], names[0], names[1]]
    assert comparison.differences == ()


@pytest.mark.parametrize("width", [70, 120, 160])
def test_the_table_fits_or_becomes_a_list(width, report):
    page = render(compare([("new", report), ("old", report)]), width=width)
    assert max(map(len, page.splitlines())) <= width
    assert page.count("2.90") == 2


def test_refusals(report):
    with raises(UsageError, "two", hint="BASELINE"):
        compare([("only", report)])
    lost = replace(report, candidates=tuple(replace(c, status="failed-gate") for c in report.candidates))
    with raises(UsageError, "'lost'"):
        compare([("lost", lost), ("old", report)])


def with_metric(report, metric, score):
    shipped = report.shipped
    return replace(report, candidates=(replace(shipped, quality=replace(shipped.quality, metric=metric, score=score)),))


def test_scores_of_two_metrics_are_not_mixed(report):
    comparison = compare([("new", with_metric(report, "f1", 0.85)), ("old", with_metric(report, "auc", 0.92))])
    for page in (render(comparison, width=160), markdown(comparison)):
        assert "f1 0.8500" in page and "auc 0.9200" in page
    assert any(mentions(line, ("metric", "f1", "new", "auc", "old")) for line in comparison.differences)


def test_other_data_is_reported(report):
    other = replace(report, data=replace(report.data, evaluation_digest="f" * 64))
    (difference,) = compare([("new", other), ("old", report)]).differences
    assert difference.startswith("evaluation data: ") and "ffffffffffff" in difference
