"""The command line that starts a measuring process, in this environment or in another one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MAIN = "del sys.argv[2:]; from edgekit.bench.worker import main; main(int(sys.argv[1]))"

_HERE = f"import sys; sys.path[:] = sys.argv[2:]; {_MAIN}"
"""The child imports from where its parent does and nowhere else: a json.py in the working directory must not be found.
"""

_IN_ANOTHER = f"import sys; sys.path[:1] = sys.argv[2:]; {_MAIN}"
"""Another environment keeps its own packages; the parent's checkouts come first, in place of the working directory."""


def command_line(python: Path | None = None) -> list[str]:
    """Return the command line, with this process as the parent.

    `python` is the interpreter of another environment, with a runtime that cannot be installed in this one. It can
    import what the parent imports from outside its own environment (edgekit as a checkout, the script's folder), and
    needs numpy.
    """
    path = [entry for entry in sys.path if isinstance(entry, str)]
    if python is None:
        return [sys.executable, "-c", _HERE, str(os.getpid()), *path]
    prefixes = tuple(str(Path(prefix).absolute()) + os.sep for prefix in {sys.prefix, sys.base_prefix})
    shared = [entry for entry in path if entry and not f"{Path(entry).absolute()}{os.sep}".startswith(prefixes)]
    return [str(python), "-c", _IN_ANOTHER, str(os.getpid()), *shared]
