"""What became of a measuring process, in words: the error that it raised, or how it died."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from typing import Any

from edgekit import errors
from edgekit.errors import DeviceError, EdgekitError

_SIGNALS = {
    "SIGILL": "an illegal instruction: it was built for a processor that has more instructions than this one",
    "SIGSEGV": "it read or wrote memory that is not its own",
    "SIGBUS": "a memory access that the hardware refused, or a file that shrank while it was mapped",
    "SIGFPE": "an arithmetic fault",
    "SIGABRT": "it gave up by itself",
    "SIGKILL": "something outside killed it, perhaps the system because memory ran out",
    "SIGTERM": "something outside asked it to end",
}

_HINTS = {
    "SIGILL": "install another version of {backend}, one built for this processor (`edgekit doctor` shows both)",
    "SIGKILL": "free some memory or give a smaller model or batch; `dmesg | tail` says whether the system killed it",
}

_CHECK = "`edgekit doctor` checks the runtime"


def death(code: int, log: str, *, backend: str, doing: str) -> DeviceError:
    """Say how the process died: the signal and its meaning, or the exit code, and the log's last lines."""
    said = _last_lines(log)
    tail = f" Its last lines:\n{said}" if said else ""
    who = f"the process that ran '{backend}'"
    if code >= 0:
        return DeviceError(
            f"{who} ended with exit code {code} while {doing}.{tail}", hint=_CHECK, backend=backend, log=log
        )
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        meaning = f" ({_SIGNALS[name]})" if name in _SIGNALS else ""
        return DeviceError(
            f"{who} was killed by {name}{meaning} while {doing}.{tail}",
            hint=_HINTS.get(name, _CHECK).format(backend=backend),
            backend=backend,
            signal=name,
            log=log,
        )
    return DeviceError(f"{who} was killed by signal {-code} while {doing}.")


def raised(data: Mapping[str, Any]) -> EdgekitError:
    """Make the error anew that was raised in the other process."""
    kind = getattr(errors, str(data["error"]), EdgekitError)
    if not (isinstance(kind, type) and issubclass(kind, EdgekitError)):
        kind = EdgekitError
    made: EdgekitError = kind(data["message"], hint=data["hint"], **data["context"])
    return made


def _last_lines(log: str, count: int = 8) -> str:
    """Give the last lines that the runtime wrote before Python's dump of the stacks, which the context keeps."""
    lines = log.partition("Fatal Python error:")[0].splitlines()
    return "\n".join(f"  {line}" for line in lines[-count:] if line.strip())
