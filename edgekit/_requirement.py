"""Read what distributions require of each other, from their metadata alone.

Understands the forms that wheels declare (PEP 508: name, extras, version clauses, a marker); `packaging` is no
dependency of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edgekit import _marker as marker

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?$")
_CLAUSE = re.compile(r"^\s*(~=|===|==|!=|<=|>=|<|>)\s*([^\s,]+)\s*$")


@dataclass(frozen=True)
class Requirement:
    """One requirement of a distribution: `name` within `clauses`, such as (">=2.6", "<2.14")."""

    name: str
    clauses: tuple[str, ...]
    marker: str

    def applies_on(self, machine: Mapping[str, str]) -> bool:
        """Say whether it counts, for the distribution itself, where the marker's names have these values."""
        return not self.marker or marker.holds(self.marker, {**marker.environment(None), **machine}, satisfies)

    def applies(self, extra: str | None) -> bool:
        """Say whether it counts on this machine, for the distribution itself (None) or for one of its extras."""
        if not self.marker:
            return extra is None
        alone = self._holds(None)
        return alone if extra is None else not alone and self._holds(extra)

    def _holds(self, extra: str | None) -> bool:
        try:
            return marker.holds(self.marker, marker.environment(extra), satisfies)
        except ValueError:
            return True  # rather checked than missed

    def broken_by(self, version: str) -> tuple[str, ...]:
        """Give the clauses that `version` does not satisfy."""
        return tuple(clause for clause in self.clauses if not satisfies(version, clause))


def read(text: str) -> Requirement | None:
    """Read one requirement; None for a form that names no version range, such as a URL."""
    match = _REQUIREMENT.match(text)
    if match is None or "@" in match[3]:
        return None
    clauses = tuple(clause.strip() for clause in match[3].split(",") if clause.strip())
    return Requirement(normal(match[1]), clauses, (match[4] or "").strip())


def of(distribution: str, extra: str | None = None) -> Iterator[Requirement]:
    """Yield the requirements of an installed distribution that count here; of one that is not installed, none."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return
    for line in lines:
        requirement = read(line)
        if requirement is not None and requirement.applies(extra):
            yield requirement


def installed(name: str) -> str | None:
    """Give the installed version of a distribution, None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions(names: Iterable[str]) -> dict[str, str]:
    """Give the versions of those distributions that are installed, in the order given."""
    return {name: found for name in names if (found := installed(name)) is not None}


def satisfies(version: str, clause: str) -> bool:
    """Say whether a version satisfies one clause: `>=2.6`, `<2.14`, `==1.2.*`, `~=2.1.0`; true for an unknown form."""
    match = _CLAUSE.match(clause)
    if match is None:
        return True
    operator, wanted = match[1], match[2]
    if operator == "===":
        return version == wanted
    if wanted.endswith(".*"):
        prefix = numbers(wanted[:-2])
        same = numbers(version)[: len(prefix)] == prefix
        return same if operator == "==" else not same
    have, limit = _padded(version, wanted)
    if operator == "~=":
        prefix = numbers(wanted)[:-1]
        return have >= limit and numbers(version)[: len(prefix)] == prefix
    return {
        "==": have == limit,
        "!=": have != limit,
        "<=": have <= limit,
        ">=": have >= limit,
        "<": have < limit,
        ">": have > limit,
    }[operator]


def numbers(version: str) -> tuple[int, ...]:
    """Give the release numbers of a version: `2.13.0+cpu` is (2, 13, 0)."""
    release = re.match(r"\d+(?:\.\d+)*", version.strip().lstrip("v").split("+")[0])
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def normal(name: str) -> str:
    """Give a distribution's name in the one form that pip compares (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _padded(version: str, wanted: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    have, limit = numbers(version), numbers(wanted)
    size = max(len(have), len(limit))
    return have + (0,) * (size - len(have)), limit + (0,) * (size - len(limit))
