"""Files, names and folders that someone else chose: none of them runs code, reads elsewhere or drives the terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekit._process import python_module
from edgekit._text import json_text, visible
from edgekit.cli import cli
from edgekit.cli.progress import Lines
from edgekit.regression import formatting
from edgekit.report import compare, markdown
from edgekit.report import write as write_report
from edgekit.result.report import Report
from tests.wording import mentions

REPORTS = Path(__file__).parent.parent / "fixtures" / "reports"
HOSTILE = "<script>alert(1)</script>\x1b[2J\x9b31m\x07\r\u202e|x"
KEPT = {"kind", "status", "evidence", "main", "objective", "verdict", "quantity", "scenario", "dtype", "raw_file"}
"""Keys whose text has a form of its own."""
LINES = {"latencies_ms", "p50_ms", "p90_ms"}


def hostile(value: object, key: str = "") -> object:
    """Return the value with `HOSTILE` behind every text."""
    if isinstance(value, dict):
        return {name: hostile(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, key) for item in value]
    return value + HOSTILE if isinstance(value, str) and key not in KEPT | LINES else value


def drives_the_terminal(text: str) -> bool:
    return any(character in text for character in "\x1b\x9b\x07\r\u202e")


@pytest.fixture(params=sorted(path.name for path in REPORTS.glob("*.json")))
def report(request, tmp_path: Path) -> Path:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(hostile(json.loads((REPORTS / request.param).read_text()))))
    return file


@pytest.mark.parametrize("command", [("inspect",), ("inspect", "--json"), ("compare",), ("compare", "--markdown", "-")])
def test_a_hostile_report_is_shown_as_plain_text(report: Path, command: tuple[str, ...]) -> None:
    files = [report, report] if command[0] == "compare" else [report]
    result = CliRunner().invoke(cli, [*command[:1], *map(str, files), *command[1:]])
    assert result.exit_code == 0, result.output
    assert "alert(1)" in result.output and not drives_the_terminal(result.output)
    if "--markdown" in command:
        assert "<script>" not in result.output
    if "--json" in command:
        assert HOSTILE in json.loads(result.output)["model"]


@pytest.mark.parametrize("suffix", [".md", ".html", ".txt"])
def test_a_hostile_report_is_written_as_plain_text(report: Path, suffix: str, tmp_path: Path) -> None:
    page = tmp_path / f"page{suffix}"
    write_report(Report.load(report), page)
    text = page.read_text()
    assert "alert(1)" in text and not drives_the_terminal(text)
    assert suffix == ".txt" or "<script>alert" not in text


def test_tables_in_markdown_escape_their_headers(report: Path) -> None:
    loaded = Report.load(report)
    sides = compare.sides([(f"new{HOSTILE}", loaded), ("old", loaded)], {}, least=2)
    assert "<script>" not in markdown.render(loaded) + formatting.markdown(compare.compare(sides), ())


def test_errors_and_progress_are_plain_text() -> None:
    result = CliRunner().invoke(cli, ["verify", f"no{HOSTILE}"])
    assert result.exit_code == 2 and "alert(1)" in result.output and not drives_the_terminal(result.output)
    stream = io.StringIO()
    progress = Lines(stream, verbose=True)
    with progress.step(f"step {HOSTILE}") as tick:
        tick(detail=f"detail {HOSTILE}")
    progress.note(HOSTILE)
    assert stream.getvalue().count("alert(1)") == 4 and not drives_the_terminal(stream.getvalue())


def test_only_our_own_colours_reach_a_terminal() -> None:
    assert visible("\x1b[1mbold\x1b[0m \x1b[8mhidden", colours=True) == "\x1b[1mbold\x1b[0m \\x1b[8mhidden"
    assert visible("\x1b[1mbold\tand\nmore \u200dé") == "\\x1b[1mbold\tand\nmore \u200dé"
    odd = {"name": "\x7f\udce9\u202e", "é": ["\x1b"]}
    text = json_text(odd)
    assert json.loads(text) == odd and not drives_the_terminal(text) and text.encode()


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize(
    "command", [(sys.executable, "-m", "edgekit.cli", "doctor"), python_module("edgekit.cli", "doctor")]
)
def test_doctor_runs_no_python_of_the_working_folder(command: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("json", "numpy", "pip", "importlib_metadata", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise SystemExit(9)")
    shown = run(*command, cwd=tmp_path)
    assert not (tmp_path / "ran").exists(), shown.stdout + shown.stderr
    assert shown.returncode in (0, 3), shown.stderr


def test_pip_runs_no_python_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    shown = run(*python_module("pip", "--version"), cwd=tmp_path)
    assert shown.stdout.startswith("pip ") and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["/etc/passwd", "../secret.txt", "link.txt"])
def test_a_report_names_no_latencies_outside_its_folder(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("1000\n2000\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    data = json.loads((REPORTS / "minilm.json").read_text())
    for candidate in data["candidates"]:
        if candidate.get("measurement"):
            candidate["measurement"]["raw_file"] = place
    (folder / "report.json").write_text(json.dumps(data))
    for words in (
        ("inspect", "report.json", "--report", "page.html"),
        ("compare", "report.json", "report.json", "--max-regress", "p50=5%"),
    ):
        shown = CliRunner().invoke(
            cli, [str(folder / word) if word.endswith((".json", ".html")) else word for word in words]
        )
        assert shown.exit_code == 2 and mentions(shown.output, f"'{place}'"), shown.output
        assert "root:" not in shown.output


@pytest.mark.parametrize(
    ("header", "config"),
    [
        ({"w": {"dtype": "F32", "shape": [9] * 300_000, "data_offsets": [0, 4]}}, {}),
        ({"w": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}, {}),
        ({"w": 1}, {}),
        ({}, {"architectures": 7}),
        ({}, [1]),
    ],
)
def test_a_checkpoint_that_is_nonsense_is_the_users(header: dict, config: object, tmp_path: Path) -> None:
    content = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(content).to_bytes(8, "little") + content + b"\0" * 4)
    (tmp_path / "config.json").write_text(json.dumps(config))
    shown = CliRunner().invoke(cli, ["inspect", str(tmp_path)])
    assert shown.exit_code == 2 and "again" in shown.output, shown.output
