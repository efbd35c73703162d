"""The page in a real browser, Chromium, where there is one: named by $EDGEKIT_CHROMIUM, or on the path."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape, unescape

import pytest

from edgekit.pipeline import pareto
from edgekit.plugin import LayerTime
from edgekit.report import html
from tests.report.test_timeline import SENSORS, TURNS, measured

pytestmark = pytest.mark.slow

CHROMIUM = os.environ.get("EDGEKIT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)  # fmt: skip
WIDTHS = (1280, 390, 360)
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"

PROBE = """<script>
addEventListener("load", () => {
  const frames = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, view = page.documentElement;
    const out = [...page.querySelectorAll("body *")].filter(item => !item.closest(".table") && !item.closest("svg")
      && item.getBoundingClientRect().right > frame.clientWidth + 1);
    frames[frame.name] = {
      scroll: view.scrollWidth, client: view.clientWidth, out: out.map(item => item.outerHTML.slice(0, 80)),
      titles: [...page.querySelectorAll("h2")].map(item => item.textContent),
      ink: getComputedStyle(page.body).color, paper: getComputedStyle(page.body).backgroundColor,
      small: [...page.querySelectorAll("svg")].filter(item => item.getBoundingClientRect().width < 20).length,
    };
  }
  document.body.innerHTML = "<pre>" + JSON.stringify(frames) + "</pre>";
});
</script>"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Return a call that runs the browser on a file, and what it printed and logged."""
    if not CHROMIUM:
        pytest.skip("no Chromium: set EDGEKIT_CHROMIUM, or put chromium on the path")

    def run(*arguments: str) -> tuple[str, str]:
        profile = tmp_path_factory.mktemp("profile")
        command = [CHROMIUM, *SWITCHES, f"--user-data-dir={profile}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def page(report):
    """Return a page with every section."""
    long = measured(replace(report, candidates=pareto.marked(report.candidates)), turns=TURNS, sensors=SENSORS)
    layers = tuple(
        LayerTime(f"/encoder/layer.{n}/attention/query/MatMul", "MatMul", "i8", 0.1 * n) for n in range(1, 30)
    )
    shipped = replace(long.shipped, layers=layers)
    return html.render(replace(long, candidates=tuple(shipped if c is long.shipped else c for c in long.candidates)))


def probe(chromium, page, folder, scheme):
    """Return what a browser computes for the page in frames of the widths."""
    frames = "".join(
        f'<iframe name="{width}" style="width:{width}px;height:900px;border:0" srcdoc="{escape(page)}"></iframe>'
        for width in WIDTHS
    )
    file = folder / "frames.html"
    file.write_text(f'<!doctype html><meta charset="utf-8"><body>{frames}{PROBE}</body>', encoding="utf-8")
    printed, log = chromium(scheme, "--window-size=1400,1000", "--dump-dom", f"file://{file}")
    assert ":CONSOLE" not in log, log
    return json.loads(unescape(re.search(r"<pre>(.*?)</pre>", printed, re.S)[1]))


def test_errors_would_be_seen(chromium, tmp_path):
    (tmp_path / "bad.html").write_text("<script>throw new Error('seen')</script>")
    _, log = chromium("--dump-dom", f"file://{tmp_path / 'bad.html'}")
    assert ":CONSOLE" in log and "seen" in log


def test_it_fits_a_desktop_and_a_phone_in_light_and_dark(chromium, page, tmp_path):
    light, dark = (probe(chromium, page, tmp_path, scheme) for scheme in (LIGHT, DARK))
    for layout in (light, dark):
        for width in map(str, WIDTHS):
            assert layout[width]["out"] == [] and layout[width]["scroll"] <= layout[width]["client"], width
            assert layout[width]["small"] == 0, "every drawing has a width"
    titles = light["1280"]["titles"]
    for title in ("Candidates", "Trade-offs", "Over time", "Environment", "Noise", "Data", "Lineage", "Notes"):
        assert title in titles
    assert any(title.startswith("Slowest layers of") for title in titles)

    assert sum(map(int, re.findall(r"\d+", light["360"]["paper"])[:3])) > 700, "light paper"
    assert sum(map(int, re.findall(r"\d+", dark["360"]["paper"])[:3])) < 150, "dark paper"


def test_it_prints(chromium, page, tmp_path):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    _, log = chromium(f"--print-to-pdf={tmp_path / 'page.pdf'}", f"file://{tmp_path / 'page.html'}")
    assert ":CONSOLE" not in log, log
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
