"""The error of a measuring process that died."""

from __future__ import annotations

from edgekit._process import SIGNALS, signal_of
from edgekit.errors import DeviceError

_HINTS = {
    "SIGILL": "install another version of {backend}, one built for this processor (`edgekit doctor` shows both)",
    "SIGKILL": "free some memory or use a smaller model or batch; `dmesg | tail` shows whether the system killed it",
}

_CHECK = "`edgekit doctor` checks the runtime"


def death(code: int, log: str, *, backend: str, doing: str) -> DeviceError:
    """Return the error of a process that died: the signal with its meaning, or the exit code, and the last lines."""
    lines = _last_lines(log)
    tail = f" Its last lines:\n{lines}" if lines else ""
    process = f"the process that ran '{backend}'"
    if code >= 0:
        return DeviceError(
            f"{process} ended with exit code {code} while {doing}.{tail}", hint=_CHECK, backend=backend, log=log
        )
    name = signal_of(code)
    if name is None:
        return DeviceError(f"{process} was killed by signal {-code} while {doing}.")
    meaning = f" ({': '.join(filter(None, SIGNALS[name]))})" if name in SIGNALS else ""
    return DeviceError(
        f"{process} was killed by {name}{meaning} while {doing}.{tail}",
        hint=_HINTS.get(name, _CHECK).format(backend=backend),
        backend=backend,
        signal=name,
        log=log,
    )


def _last_lines(log: str, count: int = 8) -> str:
    """Return the last lines before Python's dump of the stacks, which stays in the error's context."""
    lines = log.partition("Fatal Python error:")[0].splitlines()
    return "\n".join(f"  {line}" for line in lines[-count:] if line.strip())
