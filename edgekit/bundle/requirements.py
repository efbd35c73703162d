"""What a bundle requires of the machine that opens it, compared with this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgekit import _requirement
from edgekit.bundle.manifest import Manifest
from edgekit.target import host

CLAUSES = ("arch", "isa", "isa_any", "packages")
"""The clauses that have a meaning; any other is one of a newer version, and is not met."""


def unmet(manifest: Manifest) -> tuple[str, ...]:
    """Return the requirements of a bundle that this machine does not meet. One without a digest lists some: where it
    does not, they were removed.
    """
    if manifest.seal is None and not all(manifest.requires):
        return ("the manifest does not list what it requires", *unmet_requirements(manifest.requires))
    return unmet_requirements(manifest.requires)


def unmet_requirements(requirements: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the requirements of a bundle's parts that this machine does not meet."""
    requirements = tuple(requirements)
    problems = list(unmet_by_processor(requirements, host.probe()))
    for requires in requirements:
        packages = requires.get("packages", {})
        for package, versions in packages.items() if isinstance(packages, Mapping) else ():
            problems += _package_problem(package, versions)
    return tuple(dict.fromkeys(problems))


def unmet_by_processor(requirements: Iterable[Mapping[str, Any]], machine: host.Host) -> tuple[str, ...]:
    """Return the requirements of a bundle's parts that a machine's processor does not meet, and those that cannot be
    understood.
    """
    return tuple(dict.fromkeys(problem for each in requirements for problem in _processor_problems(each, machine)))


def _processor_problems(requires: Mapping[str, Any], machine: host.Host) -> tuple[str, ...]:
    unclear = tuple(_unclear(requires))
    if unclear:
        return unclear
    if "arch" in requires and requires["arch"] != machine.arch:
        return (f"it needs {requires['arch']}; this machine is {machine.arch}",)
    problems = []
    missing = sorted(set(requires.get("isa", ())) - set(machine.isa))
    if missing:
        problems.append(f"this processor lacks {', '.join(missing)}")
    any_of = requires.get("isa_any", ())
    if any_of and not set(any_of) & set(machine.isa):
        problems.append(f"this processor has none of {', '.join(any_of)}")
    return tuple(problems)


def _unclear(requires: Mapping[str, Any]) -> Iterator[str]:
    """Yield a problem for each clause that this version does not understand: it may be one that is not met."""
    for name, value in requires.items():
        if name not in CLAUSES:
            yield f"it has the requirement '{name[:60]}', which this edgekit does not understand"
        elif not _well_formed(name, value):
            yield f"its requirement '{name}' is not understood: {repr(value)[:60]}"


def _well_formed(name: str, value: Any) -> bool:
    if name == "arch":
        return isinstance(value, str)
    if name == "packages":
        return isinstance(value, Mapping) and all(isinstance(versions, str) for versions in value.values())
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def _package_problem(package: str, versions: Any) -> list[str]:
    requirement = f"{package}{versions}"
    if not isinstance(versions, str):
        return []  # not understood, which is a problem of its own
    installed = _requirement.installed(package)
    if installed is None:
        return [f"it needs the package {requirement}, which is not installed (pip install '{requirement}')"]
    if not _requirement.satisfies(installed, versions):
        return [f"it needs {requirement}; {installed} is installed (pip install '{requirement}')"]
    return []
