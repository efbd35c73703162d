"""Installed versions, and requirements, markers and version clauses (PEP 440, 503 and 508), parsed by `packaging`.

`packaging` is imported on use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import EnvironmentFault

if TYPE_CHECKING:
    from packaging.markers import Marker


@dataclass(frozen=True)
class Requirement:
    """A requirement of a distribution: `name` within `clauses`, such as (">=2.6", "<2.14")."""

    name: str
    clauses: tuple[str, ...]
    marker: Marker | None

    def applies_on(self, machine: Mapping[str, str]) -> bool:
        """Return whether the distribution without extras has this requirement where the marker's variables have these
        values.
        """
        return self.marker is None or self.marker.evaluate({**machine, "extra": ""})

    def applies(self, extra: str | None) -> bool:
        """Return whether the distribution itself (None), or this extra of it, has this requirement on this machine."""
        alone = self.applies_on({})
        if extra is None or self.marker is None:
            return alone and extra is None
        return not alone and self.marker.evaluate({"extra": extra})


def read(text: str) -> Requirement | None:
    """Return the parsed requirement; None for text that is not one, and for a form without versions, such as a URL."""
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed

    try:
        parsed = Parsed(text)
    except InvalidRequirement:
        return None
    if parsed.url:
        return None
    return Requirement(normal(parsed.name), tuple(sorted(map(str, parsed.specifier))), parsed.marker)


def of(distribution: str, extra: str | None = None) -> Iterator[Requirement]:
    """Yield the requirements of an installed distribution that apply here; nothing where it is not installed."""
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
    """Return the installed version of a distribution, None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except (PackageNotFoundError, ValueError):  # ValueError: an empty name
        return None


def require(purpose: str, *modules: str) -> None:
    """Raise EnvironmentFault where modules of the extra `build` are missing; nothing is imported."""
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise EnvironmentFault(f"{purpose} needs {', '.join(missing)}.", hint="pip install 'edgekit[build]'")


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the distributions in `names` that are installed, in that order."""
    return {name: version for name in names if (version := installed(name)) is not None}


def satisfies(version: str, clauses: str) -> bool:
    """Return whether a version satisfies comma-separated clauses such as `>=2.6,<2.14`; False if either cannot be
    parsed.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(clauses).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False


def normal(name: str) -> str:
    """Return a distribution's name in the normalised form that pip compares (PEP 503)."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)
