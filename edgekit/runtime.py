"""A backend's description of its runtime: its packages, and the versions that are known to crash on some processors."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit._requirement import satisfies
from edgekit.target.host import Host


@dataclass(frozen=True)
class KnownFault(Record):
    """A version of a package that was seen to crash on processors which lack an instruction set."""

    package: str
    version: str
    arch: str
    lacks: str
    """The instruction set, named as in target files."""
    works: str
    """Versions that were seen to work there, for people; the last one is proposed."""
    source: str
    """Where it was seen."""

    def concerns(self, host: Host) -> bool:
        """Return whether `host` is such a processor."""
        return host.arch == self.arch and self.lacks not in host.isa

    def holds(self, version: str, host: Host) -> bool:
        """Return whether this version of the package crashes on `host`."""
        return self.concerns(host) and satisfies(version, f"=={self.version}")


@dataclass(frozen=True)
class Runtime(Record):
    """What a backend runs on: used to install it on a device, and to explain why it crashed there."""

    packages: tuple[str, ...] = ()
    """Distributions that provide the runtime, in one form or another; reports give their versions."""
    modules: tuple[str, ...] = ()
    """Modules imported on a device before `probe`: a runtime that crashes on this processor crashes there, and the
    crash is recognised.
    """
    alone: tuple[str, ...] = ()
    """Those of `packages` that run a bundle without the requirements in their metadata: a device gets no other wheels.
    """
    faults: tuple[KnownFault, ...] = ()
    telemetry: tuple[str, ...] = ()
    """Modules of telemetry that has no switch: made unimportable before the runtime is imported, as by
    `edgekit.plugin.no_telemetry`."""
