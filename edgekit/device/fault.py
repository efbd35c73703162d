"""How a program on a device died, and which versions of a runtime are known to die on which processors.

A fact is here only when it was seen, on a board or on an emulated processor; its source is said.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit._requirement import satisfies
from edgekit.errors import DeviceError
from edgekit.target.host import Host


@dataclass(frozen=True)
class KnownFault:
    """A version of a package that dies on processors which lack an instruction set."""

    package: str
    bad: str
    arch: str
    lacks: str
    work: str
    """Which versions were seen to work there, for people."""
    source: str

    def holds(self, version: str, host: Host) -> bool:
        return self.concerns(host) and satisfies(version, f"=={self.bad}")

    def concerns(self, host: Host) -> bool:
        return host.arch == self.arch and self.lacks not in host.isa


KNOWN = (
    KnownFault(
        "onnxruntime",
        "1.21.0",
        "aarch64",
        "dotprod",
        "1.20.1, 1.22.0, 1.23.2 and 1.32.0",
        "seen on emulated Cortex-A53 and -A72",
    ),
)

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


def exclusions(package: str, host: Host) -> tuple[str, ...]:
    """Give version clauses that keep a package's known faulty versions off a processor, as `!=1.21.0`."""
    return tuple(f"!={fault.bad}" for fault in KNOWN if fault.package == package and fault.concerns(host))


def death(
    name: str, host: Host, packages: Mapping[str, str], doing: str, *, out_of_memory: bool = False, said: str = ""
) -> DeviceError:
    """Say what killed a program on a device, and what helps: `name` is the signal's."""
    core = host.cpu or host.arch
    runtimes = {package: version for package, version in packages.items() if package in _RUNTIMES}
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
    for fault in KNOWN:
        if name in ("SIGILL", "SIGSEGV") and fault.package in packages and fault.holds(packages[fault.package], host):
            return DeviceError(
                f"{SIGNALS[name]} on {core}: {fault.package} {packages[fault.package]} dies on processors without "
                f"{fault.lacks} ({fault.source}). Versions that work: {fault.work}.",
                hint=f"deploy with --bootstrap --require '{fault.package}=={fault.work.rpartition(' ')[2]}', or "
                "install that on the device",
                signal=name,
                package=fault.package,
                version=packages[fault.package],
                works=fault.work,
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


_RUNTIMES = ("onnxruntime", "openvino", "tensorrt")
