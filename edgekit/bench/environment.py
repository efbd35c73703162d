"""The machine and the software that a measurement belongs to."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from edgekit import _requirement
from edgekit.result.report import Environment
from edgekit.target import host

ALWAYS = ("edgekit", "numpy")

_X86 = ("x86_64", "amd64", "i686", "i386")


def environment(packages: Iterable[str] = (), *, root: Path = Path("/")) -> Environment:
    """Return the environment: host, versions of `packages`, edgekit and numpy, governor, emulation, the time in UTC.

    A package that is not installed is left out.
    """
    return Environment(
        host=host.probe(root),
        packages=_requirement.versions(sorted({*ALWAYS, *packages})),
        governor=governor(root),
        emulated=emulated(root),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def governor(root: Path = Path("/")) -> str | None:
    """Return the frequency governor of the processors, such as `performance`; None where it cannot be read.

    Several are joined by commas.
    """
    governors = set()
    for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            governors.add(path.read_text().strip())
        except OSError:
            continue
    return ", ".join(sorted(governors - {""})) or None


def emulated(root: Path = Path("/"), machine: str | None = None) -> bool:
    """Return whether this process's instructions are emulated. True is certain, False only means that no sign was
    found.

    The signs: the executable of this process or of its parent is qemu (its user mode fakes `/proc/self`, but not
    `/proc/thread-self` or another process); the kernel lists processors of another family than `uname`, which user mode
    emulation fakes; or a processor's name is that of QEMU's emulated one. A fully emulated ARM board shows none of
    them.
    """
    machine = (machine or platform.machine()).lower()
    for process in ("thread-self", str(os.getppid())):
        with contextlib.suppress(OSError):
            if re.match(r"qemu-(?!system)", (root / "proc" / process / "exe").readlink().name):
                return True
    try:
        cpuinfo = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    looks_x86 = "vendor_id" in cpuinfo and "flags\t" in cpuinfo
    looks_arm = "CPU implementer" in cpuinfo
    if (looks_x86 and machine not in _X86) or (looks_arm and machine in _X86):
        return True
    return "QEMU TCG" in cpuinfo or "QEMU Virtual CPU" in cpuinfo
