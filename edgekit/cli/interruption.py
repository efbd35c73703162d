"""Ctrl-C and SIGTERM: unwind at once, but never in the middle of an import or of a finaliser.

A module whose import was interrupted stays broken, native code that imports (torch loading numpy) prints the exception
and continues, and an exception in a `__del__` is dropped. So a signal that arrives there is delivered when the import
or the finaliser has ended; a second signal does not wait. If the exception was dropped nevertheless, it is raised again
later.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from types import FrameType

RETRY_S = 0.02
"""Seconds between two checks whether an import has ended."""

AGAIN_S = 10.0
"""Seconds after which a process that still runs must have dropped the exception; unwinding takes less."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: unwind as for Ctrl-C, so that no partly written file stays."""


class Interruption:
    """The signal that arrived, remembered because other code may turn its exception into another."""

    def __init__(self) -> None:
        self.asked: type[KeyboardInterrupt] | None = None
        self._raised_s = -AGAIN_S

    def listen(self) -> None:
        """Handle the signals of this process; outside the main thread, where Python allows no handlers, do nothing."""
        with contextlib.suppress(ValueError):
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, self._ask)
            signal.signal(signal.SIGTERM, self._ask)
            if sys.platform != "win32":
                signal.signal(signal.SIGALRM, self._try_again)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        patient = self.asked is None
        self.asked = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self._deliver(frame, patient=patient)

    def _try_again(self, number: int, frame: FrameType | None) -> None:
        # An alarm that waits for the end of an import may be pending when a second signal has raised already.
        if time.monotonic() - self._raised_s > AGAIN_S / 2:
            self._deliver(frame, patient=True)

    def _deliver(self, frame: FrameType | None, *, patient: bool) -> None:
        assert self.asked is not None
        if sys.platform != "win32":  # Windows has no timer: there the exception is raised once, at the signal
            if patient and _cannot_unwind(frame):
                signal.setitimer(signal.ITIMER_REAL, RETRY_S)
                return
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        self._raised_s = time.monotonic()
        raise self.asked

    def end(self) -> None:
        """Stop raising: the exception has arrived."""
        if self.asked is not None and sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)


def _cannot_unwind(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
