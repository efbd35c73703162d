"""The errors of programs that died on a device, and the runtimes that are known to die on a processor.

Backends name the versions of their runtimes that do.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit import catalog
from edgekit._process import SIGNALS, signal_of
from edgekit.errors import DeviceError
from edgekit.runtime import KnownFault
from edgekit.target.host import Host

DEADLY = SIGNALS.keys() - {"SIGTERM"}
"""Signals that mean a fault; SIGTERM only asks a program to end."""


def died_of(returncode: int) -> str | None:
    """Return the name of the signal that killed a program; None for one that ended by itself.

    The code of a child of ours is negative; through a shell or ssh it is 128 plus the signal's number.
    """
    name = signal_of(returncode if returncode < 0 else 128 - returncode)
    return name if name in DEADLY else None


def known() -> tuple[KnownFault, ...]:
    """Return the known faults of the installed backends' runtimes."""
    return tuple(fault for runtime in catalog.runtimes().values() for fault in runtime.faults)


def exclusions(package: str, host: Host) -> tuple[str, ...]:
    """Return version clauses that exclude a package's versions that are known to fail on a processor, as `!=1.21.0`."""
    return tuple(f"!={fault.version}" for fault in known() if fault.package == package and fault.concerns(host))


def death(
    signal: str, host: Host, packages: Mapping[str, str], doing: str, *, out_of_memory: bool = False, output: str = ""
) -> DeviceError:
    """Return the error of a program that `signal` killed on a device, with what helps.

    `packages` are the versions in its environment, `output` the last lines that it printed.
    """
    core = host.cpu or host.arch
    of_runtimes = {package for runtime in catalog.runtimes().values() for package in runtime.packages}
    runtimes = {package: version for package, version in packages.items() if package in of_runtimes}
    runtime = ", ".join(f"{package} {version}" for package, version in runtimes.items()) or "the runtime"
    tail = f" Its last lines:\n{output}" if output else ""
    if signal == "SIGKILL":
        cause = "the kernel killed it, as the device ran out of memory" if out_of_memory else "something killed it"
        memory = f" ({host.memory_mb} MB)" if host.memory_mb else ""
        return DeviceError(
            f"the program on the device died while {doing}: {cause}{memory}.{tail}",
            hint="free some memory on the device, or export a smaller model (`--objective memory`)"
            if out_of_memory
            else "run `dmesg` on the device to see what killed it",
            signal=signal,
        )
    for fault in known():
        if signal in ("SIGILL", "SIGSEGV") and fault.package in packages and fault.holds(packages[fault.package], host):
            return DeviceError(
                f"{SIGNALS[signal][0]} on {core}: {fault.package} {packages[fault.package]} dies on processors without "
                f"{fault.lacks} ({fault.source}). Versions that work: {fault.works}.",
                hint=f"deploy with --bootstrap --require '{fault.package}=={fault.works.rpartition(' ')[2]}', or "
                "install that on the device",
                signal=signal,
                package=fault.package,
                version=packages[fault.package],
                works=fault.works,
            )
    cause = ""
    if signal == "SIGILL":
        extensions = ", ".join(host.isa) or "no extensions"
        cause = f" It uses an instruction that this processor does not support ({extensions})."
    return DeviceError(
        f"{SIGNALS[signal][0]} on {core} while {doing}, with {runtime}.{cause}{tail}",
        hint="try another version of the runtime: --bootstrap --require 'NAME==VERSION'",
        signal=signal,
        packages=", ".join(f"{package} {version}" for package, version in packages.items()),
    )
