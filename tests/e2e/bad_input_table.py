"""Run every bad input through the command line and print a Markdown table: what it was, the command, what it said.

python tests/e2e/bad_input_table.py > benchmarks/results/bad-input.md
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bad_input import CASES, Case
from bad_input.case import ROOT

HEAD = """# Bad input

What `edgekit` says, by case; every row was run. stdout is empty, nothing is left at the output or beside it, and the
cache is whole. Made by `python tests/e2e/bad_input_table.py`.

| case | command | exit code | message |
|---|---|---|---|"""


def main() -> None:
    chosen = [case for case in CASES if len(sys.argv) < 2 or re.search(sys.argv[1], case.name)]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as base:
        bundle = Path(base) / "digits"
        cache = Path(base) / "cache"
        command = ["export", "digits", "--output", str(bundle), "--no-bench", "--candidate", "onnxruntime/fp32", "-q"]
        environment = {**os.environ, "EDGEKIT_CACHE_DIR": str(cache)}
        subprocess.run(
            [sys.executable, "-m", "edgekit.cli", *command], env=environment, check=True, capture_output=True
        )
        with ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(lambda case: row(case, Path(base), bundle, cache), chosen))
    print(HEAD)
    print("\n".join(rows))


def row(case: Case, base: Path, bundle: Path, cache: Path) -> str:
    folder = Path(tempfile.mkdtemp(dir=base))
    argv = case.set_up(folder, bundle)
    done = case.run(argv, folder, cache)
    said = done.stderr
    places = {folder: "<dir>", cache: "<cache>", ROOT: "<edgekit>", Path.home(): "~"}
    for path, name in places.items():
        said = said.replace(str(path), name)
    lines = said.splitlines()
    start = next((index for index, line in enumerate(lines) if line.startswith("error:")), 0)
    text = "<br>".join(map(escape, lines[start:]))
    return f"| {case.name} | `edgekit {escape(shlex.join(argv))}` | {done.returncode} | {text} |"


def escape(text: str) -> str:
    return re.sub(r"<(?=\w+>)", "&lt;", text.replace("|", "\\|"))


if __name__ == "__main__":
    main()
