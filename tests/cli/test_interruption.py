"""Ctrl-C and SIGTERM: the process unwinds, wherever the signal arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_unwinds(sent, code, tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(
        "import time\nfrom pathlib import Path\nfrom edgekit.target import target\nfrom edgekit.cli import main\n"
        "def wait():\n"
        "    try:\n        Path('begun').touch(); time.sleep(60)\n    finally:\n        Path('unwound').touch()\n"
        "target.available = wait\nimport sys; sys.argv = ['edgekit', 'targets']\nmain()\n"
    )
    process = subprocess.Popen([sys.executable, script], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, sent)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (code, "interrupted\n")
    assert (tmp_path / "unwound").exists()


IMPORTS = """
import sys, time
from pathlib import Path
from edgekit.target import target
from edgekit.cli import main

def load():
    import slow
    Path("whole").write_text(str(slow.value))
    time.sleep(60)

target.available = load
sys.argv = ["edgekit", "targets"]
main()
"""


SLOW = "import time\nfrom pathlib import Path\nPath('begun').touch()\ntime.sleep(SECONDS)\nvalue = 1\n"


@pytest.fixture
def importing(tmp_path, request):
    """Start `edgekit` and wait until it is inside the import of a module that takes as many seconds."""
    (tmp_path / "imports.py").write_text(IMPORTS)
    (tmp_path / "slow.py").write_text(SLOW.replace("SECONDS", str(request.param)))
    process = subprocess.Popen([sys.executable, "imports.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("importing", [2], indirect=True)
def test_an_interruption_waits_for_an_import_to_end(importing, tmp_path):
    os.kill(importing.pid, signal.SIGINT)
    _, stderr = importing.communicate(timeout=30)
    assert (importing.returncode, stderr) == (130, "interrupted\n")
    assert (tmp_path / "whole").read_text() == "1", "the module was loaded whole"


@pytest.mark.parametrize("importing", [600], indirect=True)
def test_a_second_interruption_does_not_wait(importing, tmp_path):
    deadline = time.monotonic() + 60
    while importing.poll() is None and time.monotonic() < deadline:
        os.kill(importing.pid, signal.SIGINT)
        time.sleep(0.5)  # two that wait for a busy process are one to it
    _, stderr = importing.communicate(timeout=1)
    assert (importing.returncode, stderr) == (130, "interrupted\n")
    assert not (tmp_path / "whole").exists()


def test_an_interruption_that_a_library_turns_into_another_error_stays_one(tmp_path):
    script = tmp_path / "turns.py"
    script.write_text(
        "import os, signal\nfrom edgekit.target import target\nfrom edgekit.cli import main\n"
        "def turn():\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGINT)\n        while True: pass\n"
        "    except KeyboardInterrupt as error:\n        raise ModuleNotFoundError('no module') from error\n"
        "target.available = turn\nimport sys; sys.argv = ['edgekit', 'targets']\nmain()\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


FINALISER = """
import os, signal, time
from pathlib import Path
from edgekit.target import target
from edgekit.cli import main

class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            time.sleep(0.0005)
        Path("closed").touch()

def close():
    closing = Closing()
    del closing
    time.sleep(60)

target.available = close
import sys; sys.argv = ["edgekit", "targets"]
main()
"""


def test_an_interruption_is_not_dropped_by_a_finaliser(tmp_path):
    (tmp_path / "closes.py").write_text(FINALISER)
    done = subprocess.run([sys.executable, "closes.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert (tmp_path / "closed").exists()


SWALLOWS = """
import os, signal, time
from edgekit.target import target
from edgekit.cli import interruption, main

interruption.AGAIN_S = 0.5

def swallow():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    except KeyboardInterrupt:
        pass  # as native code does that prints what was raised and goes on
    time.sleep(60)

target.available = swallow
import sys; sys.argv = ["edgekit", "targets"]
main()
"""


def test_an_interruption_that_was_dropped_comes_again(tmp_path):
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    done = subprocess.run([sys.executable, "swallows.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
