"""Processes of this machine: whether one runs, how a child ends with its parent, and which signal ended it."""

from __future__ import annotations

import os
import signal
import sys

SIGNALS = {
    "SIGILL": ("illegal instruction", "it was built for a processor that has more instructions than this one"),
    "SIGSEGV": ("segmentation fault", "it read or wrote memory that is not its own"),
    "SIGBUS": ("bus error", "a memory access that the hardware refused, or a file that shrank while it was mapped"),
    "SIGFPE": ("arithmetic fault", ""),
    "SIGABRT": ("aborted by the runtime", ""),
    "SIGKILL": ("killed", "another process or the system killed it, perhaps because memory ran out"),
    "SIGTERM": ("terminated", "another process or the system asked it to end"),
}
"""The name and an explanation, for people, of each signal that can end a process."""

_PR_SET_PDEATHSIG = 1


def python(code: str, *arguments: str) -> list[str]:
    """Return the command line of a child of this Python that runs `code`, with `arguments` in `sys.argv[1:]`.

    It imports from where this process does and nowhere else. `python -c` would put the working directory first, and run
    a json.py that lies in it.
    """
    path = [entry for entry in sys.path if isinstance(entry, str) and entry]
    start = f"import sys; sys.path[:] = sys.argv[1:{len(path) + 1}]; del sys.argv[1:{len(path) + 1}]\n"
    return [sys.executable, "-c", start + code, *path, *arguments]


def python_module(name: str, *arguments: str) -> list[str]:
    """Return the command line of a child that runs a module as `python -m` does, but not from the working directory."""
    code = f"import runpy; sys.argv[0] = {name!r}; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return python(code, *arguments)


def signal_of(returncode: int) -> str | None:
    """Return the name of the signal that ended a child of ours; None for one that ended by itself."""
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return None


def die_with(parent: int | None) -> None:
    """Ask the kernel to kill this process when the parent's thread that started it ends; exit at once if `parent` has
    ended already.

    The kernel's part is Linux only: elsewhere a child has to watch for the end of its standard input.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:  # it ended before the call of prctl
        raise SystemExit(1)
