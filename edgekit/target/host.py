"""Facts about this machine: processor, instruction sets, memory, system. Read, never guessed; an unknown fact is None.

Every reader takes a root prefix, so that fixture trees of other machines can be read too.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from edgekit._record import Record

ISA_FLAGS = {
    # x86, from the kernel's cpuinfo flags
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    # ARM, from the kernel's cpuinfo features
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
}
"""The kernel's word for an instruction set, and ours."""

WIDE_SUMS = ("avx_vnni", "avx512_vnni", "amx_int8")
"""x86 instruction sets that add u8*s8 products in 32 bits; the older ones saturate at 16."""

ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd0e"): "Cortex-A76AE",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd48"): "Cortex-X2",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4b"): "Cortex-A78C",
    ("0x41", "0xd4d"): "Cortex-A715",
    ("0x41", "0xd4e"): "Cortex-X3",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd80"): "Cortex-A520",
    ("0x41", "0xd81"): "Cortex-A720",
    ("0x41", "0xd82"): "Cortex-X4",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
    ("0x51", "0x001"): "Oryon",
    ("0xc0", "0xac3"): "Ampere-1",
}
"""ARM's cpuinfo has numbers where x86 has a name: (implementer, part), as in LLVM's and util-linux' tables."""

PCI_ACCELERATORS = {
    ("0x10de", "0x03"): "NVIDIA GPU",
    ("0x1002", "0x03"): "AMD GPU",
    ("0x8086", "0x03"): "Intel GPU",
    ("0x8086", "0x12"): "Intel NPU",
}
"""(vendor, base class) in the PCI device tree: 0x03 is a display controller, 0x12 a processing accelerator."""


@dataclass(frozen=True)
class Host(Record):
    """Describe the machine that this process runs on."""

    os: str
    arch: str
    """What this process is compiled for: on a 64-bit kernel a 32-bit Python says `armv7l`, as no 64-bit wheel fits."""
    cpu: str | None
    isa: tuple[str, ...]
    """What every core has: on a board of mixed cores a thread may run on any."""
    cores: int
    """Processors this process may use: the affinity mask and the control group's quota, not what the board has."""
    memory_mb: int | None
    """Memory this process may use: the machine's, or its control group's limit where that is less."""
    board: str | None
    """The device tree's or the firmware's name of the machine."""
    virtual: bool
    kernel: str
    libc: str | None
    python: str
    compatible: tuple[str, ...] = ()
    """The device tree's names for board and chip, as `brcm,bcm2712`: the same on every maker's board."""
    accelerators: tuple[str, ...] = ()
    """Kinds seen on the PCI bus, as `NVIDIA GPU`; on-chip ones (Jetson, Rockchip) are known by the board instead."""


def home() -> Path | None:
    """Return the user's home folder; None for a user that has none, as in many containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def probe(
    root: Path = Path("/"), *, arch: str | None = None, libc: str | None = None, python: str | None = None
) -> Host:
    """Read the facts below `root`; never raises.

    What a tree does not hold is this process's own, where it is not given: `arch`, `libc` and `python`, which are those
    of the process that will run the model.
    """
    own = root == Path("/")
    cpuinfo = read_text(root / "proc/cpuinfo")
    flags = _flags(cpuinfo)
    compatible = read_list(root / "proc/device-tree/compatible")
    kernel = read_text(root / "proc/sys/kernel/osrelease")
    return Host(
        os=sys.platform,
        arch=arch or (_process_arch() if own else _arch_of(cpuinfo) or _process_arch()),
        cpu=_cpu(cpuinfo),
        isa=tuple(sorted({ours for word, ours in ISA_FLAGS.items() if word in flags})),
        cores=_cores(root, own, cpuinfo),
        memory_mb=_memory_mb(root),
        board=_board(root),
        virtual=_virtual(root, flags, compatible),
        kernel=kernel or (platform.release() if own else "unknown"),
        libc=" ".join(platform.libc_ver()).strip() or None if libc is None else libc or None,
        python=platform.python_version() if python is None else python,
        compatible=compatible,
        accelerators=_accelerators(root),
    )


def _process_arch() -> str:
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if sys.maxsize <= 2**32:  # the kernel's word is about the kernel; a wheel must fit this process
        return {"x86_64": "i686", "aarch64": "armv7l"}.get(machine, machine)
    return machine


def _arch_of(cpuinfo: str) -> str | None:
    """Tell from cpuinfo alone, for a tree that another machine left."""
    if "lm" in _field(cpuinfo, "flags").split():
        return "x86_64"
    if "asimd" in _field(cpuinfo, "Features").split():
        return "aarch64"
    return "armv7l" if _field(cpuinfo, "CPU architecture") in ("7", "8") else None


def read_text(path: Path) -> str:
    """Read a small file of the kernel's or the device tree's, without its NUL; empty where it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace").replace("\0", "").strip()
    except OSError:
        return ""


def read_list(path: Path) -> tuple[str, ...]:
    """Read a device tree property of several NUL-ended strings; empty where it cannot be read."""
    try:
        parts = path.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ()
    return tuple(part.strip() for part in parts if part.strip())


def _fields(cpuinfo: str, *names: str) -> list[str]:
    found = []
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names:
            found.append(value.strip())
    return found


def _field(cpuinfo: str, *names: str) -> str:
    return next(iter(_fields(cpuinfo, *names)), "")


def _flags(cpuinfo: str) -> set[str]:
    cores = [set(line.split()) for line in _fields(cpuinfo, "flags", "Features")]
    return set.intersection(*cores) if cores else set()


def _cpu(cpuinfo: str) -> str | None:
    if name := _field(cpuinfo, "model name"):
        return name
    # On a Raspberry Pi "Model" is the board, so the core is told by its numbers.
    makers, parts = _fields(cpuinfo, "CPU implementer"), _fields(cpuinfo, "CPU part")
    numbers = dict.fromkeys(zip(makers, parts, strict=False))
    names = [ARM_CORES.get((m.lower(), p.lower()), f"ARM implementer {m} part {p}") for m, p in numbers]
    return " + ".join(names) or None


def _cores(root: Path, own: bool, cpuinfo: str) -> int:
    if own and hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = (os.cpu_count() if own else len(_fields(cpuinfo, "processor"))) or 1
    for folder in _control_groups(root):
        quota, _, period = read_text(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            count = min(count, max(1, int(quota) // int(period)))
    quota, period = (read_text(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota.isdigit() and period.isdigit() and int(period):  # version 1; -1 is no limit
        count = min(count, max(1, int(quota) // int(period)))
    return count


def _control_groups(root: Path) -> tuple[Path, ...]:
    """Return the folders of this process's control group (version 2) and of all above it: each may set a limit."""
    top = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::/"):
            inner = top / line[4:]
            return (inner, *(parent for parent in inner.parents if parent.is_relative_to(top)))
    return (top,)


def _memory_mb(root: Path) -> int | None:
    limits = []
    for line in read_text(root / "proc/meminfo").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and len(words) > 1 and words[1].isdigit():
            limits.append(int(words[1]) // 1024)
    if limits:
        texts = [read_text(folder / "memory.max") for folder in _control_groups(root)]
        texts.append(read_text(root / "sys/fs/cgroup/memory/memory.limit_in_bytes"))
        limits += [int(text) >> 20 for text in texts if text.isdigit()]
    return min(limits, default=None)


def _board(root: Path) -> str | None:
    for name in ("proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"):
        if text := read_text(root / name):
            return text
    return None


def _virtual(root: Path, flags: set[str], compatible: tuple[str, ...]) -> bool:
    """Return whether a hypervisor shows: x86 has a flag for it, ARM only a firmware's or device tree's word."""
    vendor = read_text(root / "sys/devices/virtual/dmi/id/sys_vendor")
    return (
        "hypervisor" in flags
        or "linux,dummy-virt" in compatible
        or bool(read_text(root / "sys/hypervisor/type"))
        or vendor in ("QEMU", "KVM", "VMware, Inc.", "Xen", "innotek GmbH", "Amazon EC2", "Google", "Parallels")
    )


def _accelerators(root: Path) -> tuple[str, ...]:
    found = set()
    try:
        devices = sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return ()
    for device in devices:
        kind = (read_text(device / "vendor"), read_text(device / "class")[:4])
        name = PCI_ACCELERATORS.get(kind, "")
        # Intel's integrated graphics sit on bus 0; what sits elsewhere is a card.
        found.add("Intel Arc GPU" if name == "Intel GPU" and ":00:" not in device.name else name)
    return tuple(sorted(found - {""}))
