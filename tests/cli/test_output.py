"""Where things are printed: the result on stdout alone, the rest on stderr."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings

import pytest

from edgekit.cli import output
from edgekit.cli.progress import Lines, Live, for_terminal

NOISY = """
import ctypes, os, sys
from edgekit.cli import output
with output.job({}):
    print("python print")
    os.system("echo shell echo")
    ctypes.CDLL(None).printf(b"c printf\\n")
    os.write(1, b"raw write\\n")
output.emit_json({"answer": float("nan"), "ok": True})
"""


def test_vendor_prints_do_not_reach_stdout():
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"answer": None, "ok": True}
    for words in ("python print", "shell echo", "c printf", "raw write"):
        assert words in done.stderr


def test_prints_at_exit_do_not_follow_the_result(tmp_path):
    code = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: os.write(1, b'goodbye from a vendor'))\n"
        "sys.argv = ['edgekit', 'recipes', '--json']\n"
        "from edgekit.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)
    assert "goodbye" in done.stderr


def test_the_frameworks_are_quiet_unless_asked(capsys):
    logger = logging.getLogger("vendor")
    logger.setLevel(logging.WARNING)  # a vendor that another test imported may have raised the root's
    with warnings.catch_warnings(record=True) as seen, output.job({"quiet": True}):
        warnings.warn("deprecated", stacklevel=1)
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.isEnabledFor(logging.WARNING)
    assert seen == []
    with pytest.warns(UserWarning, match="deprecated"), output.job({"quiet": True, "verbose": True}):
        warnings.warn("deprecated", stacklevel=1)


def test_the_cache_option_is_for_the_job_only(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", "before")
    with output.job({"quiet": True, "cache_dir": tmp_path}):
        assert os.environ["EDGEKIT_CACHE_DIR"] == str(tmp_path)
    assert os.environ["EDGEKIT_CACHE_DIR"] == "before"


def test_lines_for_a_log():
    stream = io.StringIO()
    progress = Lines(stream)
    with progress.step("build a", 2) as tick:
        tick(1, "half")
        with progress.step("inner"):
            pass
    progress.note("mind the gap")
    lines = [line.split("] ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines == ["build a", "  inner", "note: mind the gap"]


def test_quiet_prints_nothing(capsys):
    with for_terminal(quiet=True, verbose=False) as progress, progress.step("a", 1) as tick:
        tick()
        progress.note("b")
    assert capsys.readouterr() == ("", "")


def test_live_display_keeps_finished_steps():
    pytest.importorskip("rich")
    from rich.console import Console

    from edgekit.cli.progress import _display

    display = _display()
    stream = io.StringIO()
    display.live.console = Console(file=stream, force_terminal=True, width=80, _environ={})
    with display:
        progress = Live(display)
        with progress.step("verify [bold]x", 3) as tick:
            tick(3, "done")
        with pytest.raises(ZeroDivisionError), progress.step("broken"):
            raise ZeroDivisionError
        progress.note("a finding")
    output = stream.getvalue()
    assert "verify [bold]x" in output  # a title is text, not markup
    assert "✓" in output and "✗" in output and "a finding" in output
