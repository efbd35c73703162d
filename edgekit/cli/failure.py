"""The only place where an exception becomes a message on stderr and an exit code.

Every exception that is not handled here is a bug in edgekit: its trace is shown and the exit code is 1.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from edgekit._text import visible
from edgekit.cli.interruption import Terminated
from edgekit.errors import (
    MOST_TEXT,
    ArtifactError,
    BuildError,
    DeviceError,
    EdgekitError,
    UnsupportedError,
    UsageError,
    shortened,
)

BUG = 1
INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141
"""128 + SIGPIPE: the exit code of other programs whose reader has ended."""


class Carried(Exception):
    """Carries an exception through click, which would turn it into an exit code of its own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def handle(error: BaseException, as_json: bool) -> int:
    """Print the message of `error` and return the exit code; with `as_json` its facts are printed on stdout too."""
    if isinstance(error, Carried):
        error = error.error
    if isinstance(error, BrokenPipeError):
        _silence_stdout()
        return BROKEN_PIPE
    if isinstance(error, (KeyboardInterrupt, click.Abort, EOFError)):
        click.echo("interrupted", err=True)
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    known = translate(error)
    if known is None:
        return _bug(error, as_json)
    print_error(known)
    if as_json:
        _json(_facts(known))
    return known.exit_code


def print_error(error: EdgekitError) -> None:
    """Print an error and its hint on stderr."""
    most = MOST_TEXT if isinstance(error, UnsupportedError) else len(error.message)
    _line("error", shortened(error.message, most))
    _line("hint", error.hint or _general_hint(error))


def _general_hint(error: EdgekitError) -> str:
    """Return a hint that suits any error of this class, for one without a hint."""
    if isinstance(error, ArtifactError):
        return "copy or export the bundle again"
    if isinstance(error, UnsupportedError):
        return "choose another --backend, --recipe or --target; `edgekit plugins` and `edgekit targets` list them"
    if isinstance(error, BuildError):
        return "run it again with --verbose to see all messages"
    return "`edgekit doctor` checks this machine"


def translate(error: BaseException) -> EdgekitError | None:
    """Return the EdgekitError for `error`, or None for a bug."""
    if isinstance(error, EdgekitError):
        return error if isinstance(error, DeviceError) else _deeper(error)
    if isinstance(error, click.ClickException):
        from edgekit.cli.mistyped import usage_error

        return usage_error(error)
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        return _of_memory()
    if isinstance(error, OSError):
        return _of_system(error)
    return None


def _of_system(error: OSError) -> EdgekitError | None:
    where = f" while writing '{error.filename}'" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DeviceError(
            f"the disk is full{where}.",
            hint="free some space (`edgekit cache clear` empties edgekit's cache), or give another --output or "
            "--cache-dir",
        )
    if "No usable temporary directory" in str(error):  # Python tried to write a file in each of them
        return DeviceError(
            "no folder for temporary files can be written: the disk may be full.",
            hint="free some space in /tmp, or name a folder on another disk: TMPDIR=/path",
        )
    if error.errno == errno.ENOMEM:
        return _of_memory()
    if error.errno == errno.EROFS:
        return UsageError(
            f"'{error.filename}' is on a read-only file system.",
            hint="give an --output or --cache-dir that can be written",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(
            f"permission to use '{error.filename}' is denied.",
            hint="give an --output or --cache-dir that you may write, or correct the permissions",
        )
    return _of_place(error)


def _of_place(error: OSError) -> EdgekitError | None:
    """Return the error for a name that the file system refuses, a limit of the system, or a vanished working folder."""
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        reason = "is too long for the file system" if error.errno == errno.ENAMETOOLONG else "is a link to itself"
        return UsageError(f"the path '{error.filename}' {reason}.", hint="give another path")
    if error.errno == errno.EFBIG:
        return DeviceError(
            "a file grew beyond the limit on the size of files.", hint="raise the limit: `ulimit -f unlimited`"
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return DeviceError("too many files are open.", hint="raise the limit: `ulimit -n 4096`")
    if error.errno == errno.ENOENT and _working_folder_is_gone():
        return UsageError("the working folder was removed.", hint="change to a folder that exists: cd ~")
    return None


def _working_folder_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  # pathlib is slow to import
    except FileNotFoundError:
        return True
    return False


_NO_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "failed to allocate", "out of memory")
"""What runtimes write, in exceptions of their own, where the system gives them no memory."""


def _deeper(error: EdgekitError) -> EdgekitError:
    """Return the system's error among the causes, if any: a compiler can fail only because the disk or memory is
    full.
    """
    for cause in _causes(error):
        if isinstance(cause, (OSError, MemoryError)) and isinstance(fault := translate(cause), DeviceError):
            return fault
        if not isinstance(cause, EdgekitError) and any(words in str(cause).lower() for words in _NO_MEMORY):
            return _of_memory()
    return error


def _of_memory() -> DeviceError:
    return DeviceError(
        "this machine ran out of memory.",
        hint="close other programs, give a smaller --calibration-samples or --max-samples, or use a larger machine",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _facts(error: EdgekitError) -> dict[str, Any]:
    """Return the facts of an error, with the report where a gate failed."""
    import json

    from edgekit._record import Record

    report = error.context.get("report")
    if isinstance(report, Record):
        del error.context["report"]
        return {**error.to_dict(), "report": report.to_dict()}
    facts: dict[str, Any] = error.to_dict()
    if isinstance(report, (str, os.PathLike)) and os.path.isfile(report):  # noqa: PTH113  # pathlib is slow to import
        with open(report, encoding="utf-8") as file:  # noqa: PTH123
            facts["report"] = json.load(file)
    return facts


def _bug(error: BaseException, as_json: bool) -> int:
    import traceback

    traceback.print_exception(type(error), error, error.__traceback__)
    name = f"{type(error).__name__}: {error}"
    _line("error", f"this is a bug in edgekit: {name}")
    hint = "please report it with the trace above and the output of `edgekit doctor --json`"
    _line("hint", hint)
    if as_json:
        _json({"error": "Bug", "exit_code": BUG, "message": name, "hint": hint, "context": {}})
    return BUG


def _line(kind: str, text: str) -> None:
    colour = {"error": "red", "hint": "cyan"}[kind]
    plain = bool(os.environ.get("NO_COLOR"))
    label = f"{kind}:" if plain else click.style(f"{kind}:", fg=colour, bold=True)
    click.echo(f"{label} {visible(text)}", err=True)


def _json(value: dict[str, Any]) -> None:
    import json

    try:
        click.echo(json.dumps(value, indent=1))
        sys.stdout.flush()
    except OSError:  # nobody reads it, or the disk is full: the message is on stderr
        _silence_stdout()


def _silence_stdout() -> None:
    """Redirect stdout to the null device, so that Python's last flush at exit does not fail."""
    import io

    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, io.UnsupportedOperation):  # a test's stdout has no descriptor
        return
