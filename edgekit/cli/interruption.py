"""Ctrl-C and SIGTERM: unwind at once, but never out of the middle of an import or of a finaliser.

A module that is half imported stays broken, native code that imports (torch loading numpy) prints the exception and
goes on as if nothing had been asked, and what is raised in a `__del__` is dropped. So a signal that arrives there is
delivered when that has ended; a second one does not wait. Where an exception was dropped all the same, it is raised
again after a while.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from types import FrameType

RETRY_S = 0.02
"""Time between two looks at whether an import has ended."""

AGAIN_S = 10.0
"""Time after which a process that still runs has dropped the exception; unwinding takes less."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: unwind as for Ctrl-C, so that nothing half written stays."""


class Interruption:
    """What the user or the system asked for, remembered: code in between may turn the exception into another."""

    def __init__(self) -> None:
        self.asked: type[KeyboardInterrupt] | None = None
        self._raised_s = -AGAIN_S

    def listen(self) -> None:
        """Take over the signals of this process; does nothing outside the main thread, whose caller owns them."""
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
        # An alarm that was set for an import's end may be pending when a second signal has already raised.
        if time.monotonic() - self._raised_s > AGAIN_S / 2:
            self._deliver(frame, patient=True)

    def _deliver(self, frame: FrameType | None, *, patient: bool) -> None:
        assert self.asked is not None
        if sys.platform != "win32":  # which has no timer: the exception is raised once, at the signal
            if patient and _cannot_unwind(frame):
                signal.setitimer(signal.ITIMER_REAL, RETRY_S)
                return
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        self._raised_s = time.monotonic()
        raise self.asked

    def end(self) -> None:
        """Raise nothing any more: the exception has arrived."""
        if self.asked is not None and sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)


def _cannot_unwind(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
