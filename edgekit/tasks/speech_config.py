"""How the probabilities of steps become times of speech: the record behind `[audio.speech]`."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit.errors import UsageError

_HINT = "correct it in [audio.speech]"


@dataclass(frozen=True)
class SpeechConfig(Record):
    """Speech begins at a step of at least `threshold`, and ends where all steps of `silence` seconds are below
    `release`.
    """

    threshold: float = 0.5
    release: float = 0.35
    shortest: float = 0.25
    """Seconds; shorter speech is left out."""
    silence: float = 0.1
    """Seconds; a shorter pause does not end it."""

    def __post_init__(self) -> None:
        if not 0 <= self.release <= self.threshold <= 1:
            raise UsageError("release and threshold are not probabilities, the first at most the second.", hint=_HINT)
        for name, value in (("shortest", self.shortest), ("silence", self.silence)):
            if not 0 <= value <= 3600:
                raise UsageError(f"{name} is {value}, not a number of seconds from 0 to 3600.", hint=_HINT)
