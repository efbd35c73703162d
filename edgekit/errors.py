"""What can go wrong, and the exit code each fault has on the command line.

    EdgekitError
    ├── UsageError          2   a bad reference, file, option or value
    ├── EnvironmentFault    3   a plugin or package is missing, broken or claimed twice
    ├── UnsupportedError    4   this model cannot run on this target with these passes (all problems, not the first)
    ├── AccuracyFailure     5   the gate on quality failed; the report was written first
    ├── PerformanceFailure  6   a latency, size, memory or regression budget was missed; the report was written first
    ├── DeviceError         7   the device is unreachable, lost, out of memory or full
    ├── ArtifactError       8   a bundle is incomplete, altered, from a newer schema or for another machine
    └── BuildError          9   a pass or a compiler failed

0 is success, 1 a bug in edgekit (the only case that shows a trace), 130 an interruption.
Vendor exceptions are translated where they are raised, with the cause chained.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

MOST_TEXT = 580
"""The most characters of the message of a model that is not supported: it is read in a terminal."""
MOST_REASONS = 3


class EdgekitError(Exception):
    """The base of all errors: what happened (`message`), what to do next (`hint`) and the facts around it
    (`context`).
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    def to_dict(self) -> dict[str, object]:
        """Return the form that `--json` prints."""
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "context": {key: _plain(value) for key, value in self.context.items()},
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> EdgekitError:
        """Return the error that `to_dict` was called on, in another process; EdgekitError for an unknown class."""
        kinds = {kind.__name__: kind for kind in EdgekitError.__subclasses__()}
        kind = kinds.get(str(data["error"]), EdgekitError)
        error = kind(data["message"], hint=data.get("hint"), **(data.get("context") or {}))
        if isinstance(error, UnsupportedError):
            error.problems = tuple(data.get("problems", ()))  # the message lists them already
        return error


class UsageError(EdgekitError):
    """A reference, file, option or value is wrong."""

    exit_code = 2


class EnvironmentFault(EdgekitError):
    """A plugin or package is missing, does not import, or is claimed twice."""

    exit_code = 3


class UnsupportedError(EdgekitError):
    """This model cannot run on this target with these passes; `problems` lists every reason, the message the first
    three.
    """

    exit_code = 4

    def __init__(
        self, message: str, *, problems: Iterable[str] = (), hint: str | None = None, **context: object
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(message + _first_reasons(self.problems, MOST_TEXT - len(message)), hint=hint, **context)

    def to_dict(self) -> dict[str, object]:
        return {**super().to_dict(), "problems": list(self.problems)}


def _first_reasons(problems: tuple[str, ...], room: int) -> str:
    """Return a line for each of the first reasons, all of them together within `room` characters, and their number."""
    shown = problems[:MOST_REASONS]
    more = (
        f"\n  - and {len(problems) - len(shown)} more: --json lists all of them" if len(problems) > len(shown) else ""
    )
    each = (room - len(more)) // len(shown) - len("\n  - ") if shown else 0
    return "".join(f"\n  - {shortened(' '.join(problem.split()), max(60, each))}" for problem in shown) + more


def shortened(text: str, most: int) -> str:
    """Return the text, without what is beyond `most` characters."""
    return text if len(text) <= most else f"{text[: most - 3].rstrip()}..."


class AccuracyFailure(EdgekitError):
    """Quality fell below what the user allows. The report was written before."""

    exit_code = 5


class PerformanceFailure(EdgekitError):
    """A budget on latency, size, memory or regression was missed. The report was written before."""

    exit_code = 6


class DeviceError(EdgekitError):
    """The device is unreachable, lost, out of memory, or its disk is full."""

    exit_code = 7


class ArtifactError(EdgekitError):
    """A bundle is incomplete, altered, too new, or made for another machine."""

    exit_code = 8


class BuildError(EdgekitError):
    """A pass or a compiler failed."""

    exit_code = 9


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def listed(names: Iterable[str], most: int = 10) -> str:
    """Return the names for a message: the first ones, and how many more there are; `none` where there are none."""
    known = sorted(names) if isinstance(names, (set, frozenset)) else list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(known[:most]) or "none") + more


def nearest(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Return ` Did you mean 'x'?` for the known words closest to `word`, or the empty string.

    Closest are: what an alias stands for, names that hold the word or all of its parts, then names of like letters.
    `aliases` has other names of known words, without punctuation; a number may follow one: `rpi5` is `rpi` and 5.
    """
    names = sorted(known)
    letters = _letters(word)
    for short, name in sorted((aliases or {}).items(), reverse=True):
        if letters == short and name in names:
            return _meant([name])
        if letters.startswith(short) and letters[len(short) :].isdigit():
            letters = _letters(name) + letters[len(short) :]
            break
    parts = set(_parts(word))
    holding = [name for name in names if len(letters) > 2 and (letters in _letters(name) or parts <= set(_parts(name)))]
    close = sorted(holding, key=lambda name: (len(name), name)) or difflib.get_close_matches(
        word, names, n=3, cutoff=0.5
    )
    return _meant(close[:3])


def _meant(names: list[str]) -> str:
    return " Did you mean " + " or ".join(f"'{name}'" for name in names) + "?" if names else ""


def _letters(word: str) -> str:
    return "".join(_parts(word))


def _parts(word: str) -> list[str]:
    return [part for part in re.split(r"[^a-z0-9]+", word.casefold()) if part]
