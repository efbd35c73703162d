"""Ctrl-C and SIGTERM: unwind at once, but never out of the middle of an import.

A module that is half imported stays broken, and native code that imports (torch loading numpy) prints the exception
and goes on as if nothing had been asked. So a signal that arrives during an import is delivered when that has ended; a
second one does not wait.
"""

from __future__ import annotations

import contextlib
import signal
from types import FrameType

RETRY_S = 0.02


class Terminated(KeyboardInterrupt):
    """SIGTERM: unwind as for Ctrl-C, so that nothing half written stays."""


class Interruption:
    """What the user or the system asked for, remembered: code in between may turn the exception into another."""

    def __init__(self) -> None:
        self.asked: type[KeyboardInterrupt] | None = None
        self._waits = False

    def listen(self) -> None:
        """Take over the signals of this process; does nothing outside the main thread, whose caller owns them."""
        with contextlib.suppress(ValueError):
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, self._ask)
            signal.signal(signal.SIGTERM, self._ask)
            signal.signal(signal.SIGALRM, self._try_again)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        patient = self.asked is None
        self.asked = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if patient and _is_importing(frame):
            self._waits = True
            signal.setitimer(signal.ITIMER_REAL, RETRY_S, RETRY_S)
        else:
            self._deliver()

    def _try_again(self, number: int, frame: FrameType | None) -> None:
        if self._waits and not _is_importing(frame):
            self._deliver()

    def _deliver(self) -> None:
        self._waits = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert self.asked is not None
        raise self.asked


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
