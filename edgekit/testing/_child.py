"""Run code in a new interpreter with an empty home, to see which modules it loads and which files it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_KEPT = {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT"}
"""The environment of the child: no CI, no XDG_*, nothing that could hide files that a library writes."""


def run_in_child(home: Path, code: str) -> object:
    """Run `code` with `home` as its home, check that the home stays empty, and return the JSON that it prints last."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key in _KEPT} | {"HOME": str(home)}
    # The child imports from the same folders as this process.
    code = f"import json, sys\nsys.path[:] = {sys.path!r}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=home, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in home.rglob("*")) == [], "something was written to the user's home"
    result: object = json.loads(done.stdout.splitlines()[-1])
    return result


def code_for(instance: object) -> str:
    """Return code that creates `backend`, an instance of the same class."""
    cls = type(instance)
    return f"from {cls.__module__} import {cls.__qualname__} as _class\nbackend = _class()"


def code_to_block(names: tuple[str, ...]) -> str:
    """Return code after which importing any of `names` fails, as if they were not installed."""
    return (
        "from edgekit.testing.blocking import import_blocker\n"
        f"blocked = import_blocker(*{names!r})\nblocked.__enter__()"  # without a reference it would end immediately
    )
