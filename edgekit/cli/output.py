"""The output of a job: the result on stdout, everything else on stderr.

Vendors print on stdout from Python and from C. While a job runs, both are redirected to stderr, so that the output of
`--json` is nothing but JSON.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import click

from edgekit._text import json_text, visible
from edgekit.progress import Progress


@dataclass(frozen=True)
class Work:
    """A running job: its progress, and the stream of its result for what is shown before the job ends."""

    progress: Progress
    result: IO[str]


@contextlib.contextmanager
def job(given: Mapping[str, Any]) -> Iterator[Work]:
    """Yield a running job with the options `quiet`, `verbose` and `cache_dir` of `given`; vendors print to stderr in
    it.
    """
    from edgekit.cli.progress import for_terminal

    verbose = bool(given.get("verbose"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(cache_at(given.get("cache_dir")))
        if not verbose:
            stack.enter_context(_without_warnings())
        result = stack.enter_context(_stdout_to_stderr())
        yield Work(stack.enter_context(for_terminal(quiet=bool(given.get("quiet")), verbose=verbose)), result)


@contextlib.contextmanager
def cache_at(folder: object) -> Iterator[None]:
    """Use the cache in `folder` during the block; None means the usual folder."""
    with _variable("EDGEKIT_CACHE_DIR", str(folder)) if folder else contextlib.nullcontext():
        yield


def emit(text: str) -> None:
    """Print a result on stdout, without control characters but our own colours."""
    click.echo(visible(text, colours=colour_wanted()))


def message(text: str) -> None:
    """Print a message on stderr, without control characters."""
    click.echo(visible(text), err=True)


def emit_json(value: Any) -> None:
    """Print a result on stdout as JSON; NaN and infinities, which JSON does not have, become null."""
    click.echo(json_text(_finite(value)))


def colour_wanted() -> bool:
    """Return whether to write colours on stdout: it is a terminal, and NO_COLOR is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Return the number of columns to write: the terminal's, `$COLUMNS`, or 100 without a terminal; 60 to 160."""
    import shutil

    return max(60, min(160, shutil.get_terminal_size((100, 24)).columns))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[IO[str]]:
    """Yield the stream of the result, which is still stdout."""
    ours = result = sys.stdout
    ours.flush()
    saved: int | None = None
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        saved = os.dup(1)
        os.dup2(2, 1)
        if ours.fileno() == 1:
            result = os.fdopen(saved, "w", encoding=ours.encoding, errors=ours.errors, closefd=False)
    sys.stdout = sys.stderr
    try:
        yield result
        result.flush()
    finally:
        sys.stdout = ours
        if saved is not None:
            _flush_c_streams()
            os.dup2(saved, 1)
            os.close(saved)


def _flush_c_streams() -> None:
    """Flush the buffers of C code while descriptor 1 is still redirected to stderr."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide the frameworks' warnings and log lines during the block: what matters is in the report. `-v` shows them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), _variable("TRANSFORMERS_VERBOSITY", "error"), _variable("TQDM_DISABLE", "1"):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
