"""How a program on a device died, and whether its runtime is known to die on such processors: backends say which do."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from edgekit import catalog
from edgekit.errors import DeviceError
from edgekit.runtime import KnownFault
from edgekit.target.host import Host

SIGNALS = {
    "SIGILL": "illegal instruction",
    "SIGSEGV": "segmentation fault",
    "SIGBUS": "bus error",
    "SIGABRT": "the runtime gave up",
    "SIGFPE": "arithmetic fault",
    "SIGKILL": "killed",
}


def died_of(returncode: int) -> str | None:
    """Give the name of the signal that ended a program; None for one that ended by itself.

    A child of ours has a negative code; through a shell or ssh it is 128 and the signal's number.
    """
    number = -returncode if returncode < 0 else returncode - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return None
    return name if name in SIGNALS else None


def known() -> tuple[KnownFault, ...]:
    """Return the known faults of the installed backends' runtimes."""
    return tuple(fault for runtime in catalog.runtimes().values() for fault in runtime.faults)


def exclusions(package: str, host: Host) -> tuple[str, ...]:
    """Give version clauses that keep a package's known faulty versions off a processor, as `!=1.21.0`."""
    return tuple(f"!={fault.version}" for fault in known() if fault.package == package and fault.concerns(host))


def death(
    name: str, host: Host, packages: Mapping[str, str], doing: str, *, out_of_memory: bool = False, said: str = ""
) -> DeviceError:
    """Say what killed a program on a device, and what helps: `name` is the signal's."""
    core = host.cpu or host.arch
    of_runtimes = {package for runtime in catalog.runtimes().values() for package in runtime.packages}
    runtimes = {package: version for package, version in packages.items() if package in of_runtimes}
    with_what = ", ".join(f"{package} {version}" for package, version in runtimes.items()) or "the runtime"
    tail = f" Its last lines:\n{said}" if said else ""
    if name == "SIGKILL":
        what = "the kernel ended it, as the device ran out of memory" if out_of_memory else "something killed it"
        memory = f" ({host.memory_mb} MB)" if host.memory_mb else ""
        return DeviceError(
            f"the program on the device died while {doing}: {what}{memory}.{tail}",
            hint="free some memory on the device, or export a smaller model (`--objective memory`)"
            if out_of_memory
            else "look who ended it: `dmesg` on the device tells of the kernel's reasons",
            signal=name,
        )
    for fault in known():
        if name in ("SIGILL", "SIGSEGV") and fault.package in packages and fault.holds(packages[fault.package], host):
            return DeviceError(
                f"{SIGNALS[name]} on {core}: {fault.package} {packages[fault.package]} dies on processors without "
                f"{fault.lacks} ({fault.source}). Versions that work: {fault.works}.",
                hint=f"deploy with --bootstrap --require '{fault.package}=={fault.works.rpartition(' ')[2]}', or "
                "install that on the device",
                signal=name,
                package=fault.package,
                version=packages[fault.package],
                works=fault.works,
            )
    why = ""
    if name == "SIGILL":
        why = f" It uses an instruction that this processor has not ({', '.join(host.isa) or 'no extensions'})."

    return DeviceError(
        f"{SIGNALS[name]} on {core} while {doing}, with {with_what}.{why}{tail}",
        hint="try another version of the runtime: --bootstrap --require 'NAME==VERSION'",
        signal=name,
        packages=", ".join(f"{package} {version}" for package, version in packages.items()),
    )
