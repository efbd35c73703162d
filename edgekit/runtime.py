"""What a backend says of its runtime: the packages it is, and the versions that are known to die on some processors."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit._requirement import satisfies
from edgekit.target.host import Host


@dataclass(frozen=True)
class KnownFault(Record):
    """A version of a package that dies on processors which lack an instruction set: only what was seen."""

    package: str
    version: str
    arch: str
    lacks: str
    """The instruction set, in the words of target files."""
    works: str
    """Which versions were seen to work there, for people; the last one is proposed."""
    source: str
    """Where it was seen."""

    def concerns(self, host: Host) -> bool:
        """Return whether `host` is such a processor."""
        return host.arch == self.arch and self.lacks not in host.isa

    def holds(self, version: str, host: Host) -> bool:
        """Return whether this version of the package dies on `host`."""
        return self.concerns(host) and satisfies(version, f"=={self.version}")


@dataclass(frozen=True)
class Runtime(Record):
    """What a backend runs on, for those who install it on a device and explain how it ended there."""

    packages: tuple[str, ...] = ()
    """Distributions that are the runtime, in one form or another: their versions stand in reports."""
    modules: tuple[str, ...] = ()
    """Imported on a device before `probe`: a runtime that dies on its processor dies there, and is recognised."""
    alone: tuple[str, ...] = ()
    """Those of `packages` that run a bundle without what their metadata asks for: a device gets no other wheels."""
    faults: tuple[KnownFault, ...] = ()
    telemetry: tuple[str, ...] = ()
    """Modules that call home and have no switch: made unimportable before the runtime is imported, as by
    `edgekit.plugin.no_telemetry`."""
