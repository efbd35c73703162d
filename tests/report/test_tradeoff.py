"""The Pareto front and the other objectives, in every format of the report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.report import html, markdown, plot, text
from edgekit.result.report import Report
from tests.report.test_report import plain
from tests.wording import mentions

FORMS = {"text": text.render, "markdown": markdown.render, "html": html.render}
FRONT = ("openvino/int8-static-bf16", "onnxruntime/int8-dynamic", "openvino/fp32")


def with_front(report: Report) -> Report:
    return replace(report, candidates=tuple(replace(c, front=c.name in FRONT) for c in report.candidates))


def test_the_front_is_marked_in_every_form(report):
    marked = with_front(report)
    marks = {form: FORMS[form](marked) for form in FORMS}
    for name in FRONT:
        assert f"{name} *" in marks["text"] and f"{name} \\*" in marks["markdown"]
    assert plain(marks["html"]).count("Pareto front") == 1 + len(FRONT), "the hint, and each candidate on it"
    for form in ("text", "markdown"):
        assert plain(marks[form]).count("on the Pareto front") == 1
    for form in FORMS:
        assert "Pareto front" not in FORMS[form](replace(marked, candidates=marked.candidates[:1]))


def test_trade_offs_are_drawn_once_for_each_measured_candidate(report):
    marked = with_front(report)
    measured = [c for c in marked.candidates if c.measurement]
    page = html.render(marked)
    assert page.count("<circle") == 2 * len(measured), "against quality, and against size"
    assert page.count('class="dot best"') == 2
    assert page.count(' off"') == 2 * (len(measured) - len(FRONT))
    assert 'class="front"' in page


def test_the_line_of_the_front_goes_down_in_steps():
    points = [(0.0, 1.0), (0.5, 0.4), (0.6, 0.6), (1.0, 0.0)]
    assert plot.staircase(points) == [(0.0, 1.0), (0.5, 1.0), (0.5, 0.4), (1.0, 0.4), (1.0, 0.0)]
    assert plot.staircase([(0.3, 0.3)]) == [(0.3, 0.3)]
    assert plot.staircase([]) == []


@pytest.mark.parametrize("form", FORMS)
def test_throughput_counts_samples(form, report):
    batched = tuple(
        c if c.measurement is None
        else replace(c, measurement=replace(c.measurement, batch=8, scenario="offline", throughput_per_s=2345.6))
        for c in report.candidates
    )  # fmt: skip
    page = plain(FORMS[form](replace(report, objective="throughput", candidates=batched)))
    assert mentions(page, ("2346 samples per second", "batches of 8"))
    assert mentions(page, "most samples per second")
    assert mentions(page, "offline", "8 samples")


def test_memory_is_a_column_of_the_table_where_it_is_the_objective(report):
    header = next(line for line in text.render(replace(report, objective="memory")).splitlines() if "RAM" in line)
    assert header.index("MB") < header.index("RAM")
    assert "RAM" not in text.render(report, width=80)
    assert "RAM" in text.render(report, width=200)
