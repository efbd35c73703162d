"""Reports in words: the verdict first, every candidate, numbers with units, nothing that breaks a terminal or page."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edgekit import report as reports
from edgekit.errors import UsageError
from edgekit.evaluation.dataset import ONE_PASS
from edgekit.pipeline import pareto
from edgekit.plugin import LayerTime
from edgekit.report import accuracy, candidates, figures, html, markdown, noise, plot, text
from edgekit.result.data_sources import DataSources
from edgekit.result.measurement import Noise, Speed
from edgekit.result.report import Report
from tests.wording import mentions

FORMS = {"text": text.render, "markdown": markdown.render, "html": html.render}


def plain(words: str) -> str:
    """Return the text without markup and line ends, so that all formats can be searched alike."""
    from html import unescape

    return " ".join(unescape(re.sub(r"\\|\*\*", "", re.sub(r"<[^>]*>", " ", words))).split())


def failed(report: Report) -> Report:
    lost = tuple(replace(c, status="failed-gate", reason="too much was lost") for c in report.candidates)
    return replace(report, candidates=lost, failures=("openvino/bf16: too much was lost",))


@pytest.mark.parametrize("form", FORMS)
def test_what_was_never_measured_on_its_device_is_prepared_and_not_shipped(form, report):
    shipped = replace(report.shipped, measurement=None)
    others = tuple(c for c in report.candidates if c.status != "shipped")
    elsewhere = replace(report, evidence="parsed", candidates=(shipped, *others))
    page = plain(FORMS[form](elsewhere))
    assert "prepared, not measured" in page.lower() and "SHIPPED" not in page
    assert figures.verdict(replace(elsewhere, evidence="built_on_device"))[0] == "SHIPPED", "--no-bench on the device"
    assert figures.verdict(report)[0] == "SHIPPED"


@pytest.mark.parametrize("form", FORMS)
def test_the_headline_states_that_one_pass_of_a_causal_model_cannot_generate(form, report):
    generating = replace(report, task="text-generation")
    assert "cannot generate" not in plain(FORMS[form](generating))
    limited = replace(generating, notes=(*report.notes, ONE_PASS))
    assert "cannot generate text" in plain(FORMS[form](limited))
    assert "cannot generate text" in figures.verdict(limited)[1]


@pytest.mark.parametrize("form", FORMS)
def test_a_noisy_machine_is_in_the_headline_and_each_gain_has_its_interval(form, report):
    quiet = replace(report, noisy=False, candidates=tuple(_with_noise(c, noisy=False) for c in report.candidates))
    assert "NOISY machine" not in plain(FORMS[form](quiet))
    behind = Speed(3.3, 2.1, 4.4)
    shipped, *others = (_with_noise(c, noisy=True) for c in report.candidates)
    noisy = replace(report, noisy=True, candidates=(shipped, *(replace(c, behind=behind) for c in others)))
    page = plain(FORMS[form](noisy))
    assert mentions(page, "NOISY machine", "3.24x (2.10x to 4.40x) as fast as openvino/fp32")
    assert "NOISY machine" in figures.verdict(noisy)[1]
    assert Report.from_dict(noisy.to_dict()).noisy, "the JSON carries the same mark"
    without = replace(noisy, candidates=(shipped, *others))
    assert "3.24x (interval unknown) as fast as" in plain(FORMS[form](without)), "of a report without intervals"


def _with_noise(candidate, *, noisy):
    if candidate.measurement is None:
        return candidate
    return replace(candidate, measurement=replace(candidate.measurement, noise=Noise(noisy)))


@pytest.mark.parametrize("form", FORMS)
def test_every_format_shows_everything(form, report):
    page = plain(FORMS[form](report))
    for candidate in report.candidates:
        assert candidate.name in page
        assert candidate.reason in page
    for fact in (
        ("p50 2.90 ms", "p90 3.07 ms"),
        ("3.24x", "openvino/fp32", "9.39 ms"),
        ("3.76x", "onnxruntime/fp32", "10.9 ms"),
        ("spearman 0.8196", "0.8203", "torch 2.13.0", "0.07 points", "1379 labelled samples"),
        "23.1 MB",
        ("i8", "i8+bf16", "41 in bf16", "36 in i8", "9 in f32"),
        "device",
        ("NOISY", "other processes", "9%", "steady"),
        "Intel(R) Xeon(R) Processor",
        "onnxruntime 1.32.0",
        "opset=18",
        "hyper-threads",
    ):
        assert mentions(page, fact)


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_comes_first(form, report):
    page = plain(FORMS[form](failed(report)))
    assert page.lower().index("failed") < page.index("openvino/int8-static-bf16")
    assert mentions(page, "shipped")
    assert mentions(page, "openvino/bf16: too much was lost")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
@pytest.mark.parametrize("colour", [False, True])
def test_text_keeps_within_its_width(width, colour, report):
    page = text.render(report, width=width, colour=colour)
    bare = re.sub(r"\x1b\[\d+m", "", page)
    assert max(map(len, bare.splitlines())) <= width
    assert ("\x1b" in page) is colour
    assert bare == text.render(report, width=width)


def test_the_reason_is_a_column_where_there_is_room(report):
    row = next(line for line in text.render(report, width=160).splitlines() if line.startswith("openvino/bf16"))
    assert mentions(row, ("1.18x", "openvino/int8-static-bf16"))
    lines = text.render(report, width=80).splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith("openvino/bf16"))
    assert mentions(lines[index + 1], ("passed:", "1.18x", "openvino/int8-static-bf16"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.1499, "0.150"),
        (0.0123456, "0.0123"),
        (2.9, "2.90"),
        (10.94, "10.9"),
        (9.999, "10.0"),
        (99.96, "100"),
        (136.4, "136"),
        (999.7, "1000"),
        (2345.6, "2346"),
        (0.0, "0"),
        (None, "-"),
        (float("inf"), "-"),
    ],
)
def test_three_significant_digits(value, words):
    assert figures.significant(value) == words


@pytest.mark.parametrize(
    ("drop", "facts"),
    [(0.0028, ("0.28 points", "lost")), (-0.005, ("0.50 points", "gained")), (0.00001, "lost"), (None, "-")],
)
def test_drops_are_points(drop, facts):
    assert mentions(figures.points(drop), facts)


def test_the_order_is_shipped_then_by_latency(report):
    shuffled = replace(report, candidates=report.candidates[::-1])
    names = [row.name for row in candidates.rows(shuffled)]
    assert names[:3] == ["openvino/int8-static-bf16", "openvino/bf16", "onnxruntime/int8-dynamic"]
    assert set(names[6:]) == {"onnxruntime/bf16", "openvino/int8-static"}


def test_the_fp32_artifact_reports_that_nothing_is_faster(report):
    shipped = next(c for c in report.candidates if c.name == "openvino/fp32")
    others = tuple(replace(c, status="passed") for c in report.candidates if c is not shipped)
    speed = figures.speed(replace(report, candidates=(replace(shipped, status="shipped"), *others)))
    assert mentions(speed, "fp32", "fastest")


@pytest.mark.parametrize("form", FORMS)
def test_unmeasured_reports_render(form, report):
    bare = tuple(replace(c, measurement=None, quality=None, effective=None) for c in report.candidates)
    page = plain(
        FORMS[form](replace(report, candidates=bare, evidence="parsed", lineage=(), data=DataSources(), notes=()))
    )
    assert mentions(page, "nothing was compiled")
    assert " ms" not in page.replace("in ms", "")


@pytest.mark.parametrize("kind", ["verify", "bench"])
@pytest.mark.parametrize("form", FORMS)
def test_the_other_kinds_render(form, kind, report):
    other = replace(report, kind=kind, candidates=(replace(report.candidates[0], status="passed", reason=""),))
    page = plain(FORMS[form](other)).lower()
    assert {"verify": "verified", "bench": "measured"}[kind] in page
    assert "2.90" in page


def test_hostile_names_stay_text(report):
    evil = "a\x1b[2J|`<script>alert(1)</script>\r\n"
    bad = replace(
        report, model=evil, notes=(evil,), candidates=(replace(report.candidates[0], name=evil, reason=evil),)
    )
    assert "\x1b" not in text.render(bad)
    page = html.render(bad)
    assert "<script" not in page and "&lt;script&gt;" in page
    lines = markdown.render(bad).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert re.search(r"(?<!\\)<", "".join(lines)) is None


def test_layers_are_listed_slowest_first(report):
    layers = (LayerTime("small", "Add", "f32", 0.1), LayerTime("large", "MatMul", "i8", 0.9))
    page = text.render(replace(report, candidates=(replace(report.candidates[0], layers=layers),)))
    assert page.index("large") < page.index("small")
    assert "90.0%" in page


class Balanced(HTMLParser):
    """Check that tags close in order and that nothing is fetched."""

    VOID = frozenset({"meta", "rect", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        assert not any(name in ("src", "href") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(report):
    page = html.render(replace(report, candidates=pareto.marked(report.candidates)))
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "url(" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_raw_latencies_are_drawn_where_they_are(suffix, report, tmp_path):
    nanoseconds = np.array([2_900_000, 2_950_000, 3_000_000, 3_100_000] * 20)
    file = tmp_path / f"raw{suffix}"
    if suffix == ".npy":
        np.save(file, nanoseconds)
    else:
        file.write_text("\n".join(map(str, nanoseconds)))
    shipped = report.shipped
    with_raw = replace(
        report, candidates=(replace(shipped, measurement=replace(shipped.measurement, raw_file=file.name)),)
    )
    assert plot.read_latencies(tmp_path, file.name) == pytest.approx(list(nanoseconds / 1e6))
    assert "80 inferences" in html.render(with_raw, tmp_path)
    assert "Latency distribution" not in html.render(with_raw)


def test_a_histogram_counts_what_is_in_range():
    drawing = plot.histogram([1.0, 1.0, 1.0, 2.0, 99.0], 1.0, 2.0, kind="bar")
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', drawing)]
    assert heights == pytest.approx([plot.HEIGHT, plot.HEIGHT / 3], abs=0.1)


@pytest.mark.parametrize(
    ("low", "high"), [(2.8, 10.4), (0.15, 0.151), (1, 1000), (3.0, 3.0), (0.17, 24.8), (0.01, 1e7)]
)
def test_ticks_are_few_round_and_inside(low, high):
    ticks = plot.ticks(low, high)
    assert 1 <= len(ticks) <= 5
    assert all(low <= tick <= high for tick in ticks)


@pytest.mark.parametrize("suffix", reports.SUFFIXES)
def test_write_by_suffix(suffix, report, tmp_path):
    path = tmp_path / f"r{suffix}"
    reports.write(report, path)
    assert report.candidates[0].name in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["r.pdf", "r", "nowhere/r.md"])
def test_write_refuses(name, report, tmp_path):
    with pytest.raises(UsageError):
        reports.write(report, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(report, tmp_path, monkeypatch):
    path = tmp_path / "r.md"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        reports.write(report, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_not_built_is_not_reported_as_slower(report):
    fp32 = replace(report.candidates[0], recipe="fp32", asked="f32")
    alone = replace(report, candidates=(replace(fp32, status="shipped"),))
    assert mentions(figures.speed(alone), ("fp32", "precision"))
    came = replace(fp32, status="shipped", asked="i8")
    assert mentions(figures.speed(replace(report, candidates=(came,))), "i8")


def test_labels_without_a_metric_are_reported_as_unused(report):
    quality = replace(report.candidates[0].quality, metric=None, score=None, agreement=None)
    assert mentions(accuracy.quality(replace(quality, labelled=5)), "labels not used")
    assert accuracy.quality(replace(quality, labelled=0)).endswith("no labels")


def test_noise_is_reported_once(report):
    measured = [c for c in report.candidates if c.measurement]
    noisy = [
        replace(
            c,
            measurement=replace(
                c.measurement, noise=replace(c.measurement.noise, noisy=True, reasons=("a neighbour",)), converged=True
            ),
        )
        for c in measured
    ]
    lines = noise.describe_all(replace(report, candidates=tuple(noisy)))
    assert len(lines) == 2 and lines[0][0].startswith(report.shipped.name)
    assert all(c.name in lines[1][0] for c in noisy if c.status != "shipped")


def test_a_name_that_fills_the_line_has_a_line_of_its_own() -> None:
    """With an indent wider than the page Python's textwrap does not end."""
    page = text._Page(60, colour=False)
    page.entry("n" * 200, "the words follow")
    assert page.lines == ["  " + "n" * 200, " " * 12 + "the words follow"]
