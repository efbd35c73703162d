"""Facts about this machine: processor, instruction sets, memory, system. Read, never guessed; an unknown fact is None.

Every reader takes a root folder, so that file trees of other machines can be read too.
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
"""Our name of an instruction set, by the kernel's."""

WIDE_SUMS = ("avx_vnni", "avx512_vnni", "amx_int8")
"""x86 instruction sets that add u8*s8 products in 32 bits; older ones saturate at 16."""

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
"""ARM's cpuinfo has the numbers (implementer, part) where x86 has a name; names as in the tables of LLVM and
util-linux."""

PCI_ACCELERATORS = {
    ("0x10de", "0x03"): "NVIDIA GPU",
    ("0x1002", "0x03"): "AMD GPU",
    ("0x8086", "0x03"): "Intel GPU",
    ("0x8086", "0x12"): "Intel NPU",
}
"""(vendor, base class) in the PCI device tree: 0x03 is a display controller, 0x12 a processing accelerator."""


@dataclass(frozen=True)
class Host(Record):
    """The machine that this process runs on."""

    os: str
    arch: str
    """What this process is compiled for: `armv7l` for a 32-bit Python on a 64-bit kernel, where no 64-bit wheel
    fits.
    """
    cpu: str | None
    isa: tuple[str, ...]
    """Instruction sets that every core has: where cores differ, a thread may run on any."""
    cores: int
    """Processors that this process may use, by affinity mask and control group; the board may have more."""
    memory_mb: int | None
    """Memory that this process may use: the machine's, or its control group's limit where that is less."""
    board: str | None
    """The name of the machine in the device tree or the firmware."""
    virtual: bool
    kernel: str
    libc: str | None
    python: str
    compatible: tuple[str, ...] = ()
    """The device tree's names of board and chip, such as `brcm,bcm2712`, which is the same on the boards of all
    makers.
    """
    accelerators: tuple[str, ...] = ()
    """Kinds on the PCI bus, such as `NVIDIA GPU`; on-chip ones (Jetson, Rockchip) are identified by the board."""


def home() -> Path | None:
    """Return the user's home folder; None for a user that has none, as in many containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def probe(
    root: Path = Path("/"), *, arch: str | None = None, libc: str | None = None, python: str | None = None
) -> Host:
    """Return the facts of the machine whose files are below `root`; never raises.

    `arch`, `libc` and `python` are not in the files: they are those of the process that will run the model, and this
    process's own where they are not given.
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
    if sys.maxsize <= 2**32:  # platform.machine() describes the kernel; a wheel must fit this process
        return {"x86_64": "i686", "aarch64": "armv7l"}.get(machine, machine)
    return machine


def _arch_of(cpuinfo: str) -> str | None:
    """Return the architecture that cpuinfo shows, for the files of another machine; None where it shows none."""
    if "lm" in _field(cpuinfo, "flags").split():
        return "x86_64"
    if "asimd" in _field(cpuinfo, "Features").split():
        return "aarch64"
    return "armv7l" if _field(cpuinfo, "CPU architecture") in ("7", "8") else None


def read_text(path: Path) -> str:
    """Return the text of a file of the kernel or the device tree, without its NUL; empty where it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace").replace("\0", "").strip()
    except OSError:
        return ""


def read_list(path: Path) -> tuple[str, ...]:
    """Return the NUL-ended strings of a device tree property; empty where it cannot be read."""
    try:
        parts = path.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ()
    return tuple(part.strip() for part in parts if part.strip())


def _fields(cpuinfo: str, *names: str) -> list[str]:
    values = []
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names:
            values.append(value.strip())
    return values


def _field(cpuinfo: str, *names: str) -> str:
    return next(iter(_fields(cpuinfo, *names)), "")


def _flags(cpuinfo: str) -> set[str]:
    cores = [set(line.split()) for line in _fields(cpuinfo, "flags", "Features")]
    return set.intersection(*cores) if cores else set()


def _cpu(cpuinfo: str) -> str | None:
    if name := _field(cpuinfo, "model name"):
        return name
    # On a Raspberry Pi "Model" is the board, so the cores are identified by their numbers.
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
    if quota.isdigit() and period.isdigit() and int(period):  # version 1; -1 means unlimited
        count = min(count, max(1, int(quota) // int(period)))
    return count


def _control_groups(root: Path) -> tuple[Path, ...]:
    """Return the folders of this process's control group (version 2) and of its ancestors: each may set a limit."""
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
    """Return whether there are signs of a hypervisor: x86 has a flag for it, ARM only the firmware or device tree."""
    vendor = read_text(root / "sys/devices/virtual/dmi/id/sys_vendor")
    return (
        "hypervisor" in flags
        or "linux,dummy-virt" in compatible
        or bool(read_text(root / "sys/hypervisor/type"))
        or vendor in ("QEMU", "KVM", "VMware, Inc.", "Xen", "innotek GmbH", "Amazon EC2", "Google", "Parallels")
    )


def _accelerators(root: Path) -> tuple[str, ...]:
    kinds = set()
    try:
        devices = sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return ()
    for device in devices:
        kind = (read_text(device / "vendor"), read_text(device / "class")[:4])
        name = PCI_ACCELERATORS.get(kind, "")
        # Intel's integrated graphics are on bus 0; others are cards.
        kinds.add("Intel Arc GPU" if name == "Intel GPU" and ":00:" not in device.name else name)
    return tuple(sorted(kinds - {""}))
