"""Run the tests, for `make test ARGS=...`: first those that share the machine, a worker a core, then, one by one, those
that are marked `alone`.

Both runs happen whatever the first one gives, unless the arguments say `-x`. The last lines tell of both, and the exit
code is that of the first run that failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_WORKERS = 4
"""Each loads torch and the runtimes: about 1 GB."""

PLAIN = {"--pdb", "--trace", "-s", "--co", "--collect-only", "--fixtures", "--markers", "-h", "--help", "--version"}
"""Arguments that workers cannot serve, or that ask for one list: everything comes in one run."""

FAILED, INTERRUPTED, NOTHING_RAN = 1, 2, 5


def main(arguments: list[str]) -> int:
    # A process that may not keep bytecode compiles edgekit, and pytest every test file, again each time.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    if PLAIN & set(arguments):
        return pytest(arguments, environment)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", dest="marks")
    given, rest = parser.parse_known_args(arguments)
    # Files keep their order, in which the long ones come first; what a file shares stays on one worker.
    workers = ["-n", str(min(cores(), MOST_WORKERS)), "--dist", "loadfile", "--no-loadscope-reorder"]
    # With a core for each worker, a thread for each core would only stand in the other worker's way.
    threads = {"OMP_NUM_THREADS": "1", **environment}
    began = time.monotonic()
    codes, lines = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, marks in (("together", "not alone"), ("alone", "alone")):
            record = Path(folder) / f"{name}.xml"
            chosen = ["-m", f"({given.marks}) and {marks}" if given.marks else marks]
            if name == "together":
                code = pytest([f"--junitxml={record}", *workers, *rest, *chosen], threads)
            else:
                code = pytest([f"--junitxml={record}", *rest, *chosen, "-n", "0"], environment)
            failed = failures(record)
            ended = code == INTERRUPTED or (code == FAILED and stops(rest))
            # Where `-x` ends workers, pytest tells of an interruption.
            codes.append(FAILED if failed and code == INTERRUPTED else code)
            lines += [f"{name}: {said(codes[-1])}", *failed]
            if ended:
                break
    code = next((code for code in codes if code not in (0, NOTHING_RAN)), min(codes))
    lines.insert(0, f"{'FAILED' if code else 'passed'} in {time.monotonic() - began:.0f} s")
    print("", *lines, sep="\n")
    return code


def pytest(arguments: list[str], environment: dict[str, str]) -> int:
    """Run pytest to its end, also when the terminal interrupts both."""
    process = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stops(arguments: list[str]) -> bool:
    """Return whether the arguments ask to stop at a failure."""
    return any(re.match(r"-[a-z]*x|--exitfirst|--maxfail", argument) for argument in arguments)


def said(code: int) -> str:
    known = {0: "passed", FAILED: "FAILED", INTERRUPTED: "interrupted", NOTHING_RAN: "no tests"}
    return known.get(code, f"exit code {code}")


def failures(record: Path) -> list[str]:
    """Name what failed, from pytest's record of a run; nothing where the arguments put that elsewhere."""
    if not record.is_file():
        return []
    cases = ElementTree.parse(record).iter("testcase")
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return [f"  {case.get('classname')}::{case.get('name')}" for case in failed]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
