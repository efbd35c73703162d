"""Facts about an NVIDIA Jetson: its software, power mode and clocks. Read, never guessed; an unknown fact is None.

Every reader takes a root folder, so that file trees of other boards can be read too. Nothing needs root.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgekit._record import Record
from edgekit.target.host import read_list, read_text

JETPACKS = {
    (39, 2): "7.2",
    (38, 4): "7.1",
    (38, 2): "7.0",
    (36, 5): "6.2.2",
    (36, 4, 7): "6.2.1",
    (36, 4, 4): "6.2.1",
    (36, 4, 3): "6.2",
    (36, 4, 0): "6.1",
    (36, 3): "6.0",
    (35,): "5.1",
    (32, 7): "4.6",
}
"""The JetPack of each L4T release, as jetson_stats lists it; the longest match is used."""

CHIPS = {
    "nvidia,tegra210": ("Tegra X1", "5.3"),
    "nvidia,tegra186": ("Tegra X2", "6.2"),
    "nvidia,tegra194": ("Xavier", "7.2"),
    "nvidia,tegra234": ("Orin", "8.7"),
    "nvidia,tegra264": ("Thor", "11.0"),
}
"""Our name of a chip and the compute capability of its GPU in NVIDIA's documents, by the device tree's name."""

QUERY_SECONDS = 5.0


@dataclass(frozen=True)
class Jetson(Record):
    """The software and the state of a Jetson."""

    chip: str | None
    sm: str | None
    """The compute capability by NVIDIA's documents; where an engine is built, the driver's is used."""
    l4t: str | None
    """Such as `36.4.3`."""
    jetpack: str | None
    tensorrt: str | None
    """The version of the system's package, such as `10.3.0`."""
    cuda: str | None
    power_mode: str | None
    """nvpmodel's name for it: `15W`, `MAXN_SUPER`."""
    clocks_locked: bool | None
    """Whether every clock of processor and GPU is fixed at its highest, as `jetson_clocks` sets it."""

    def __str__(self) -> str:
        clocks = {True: "clocks locked", False: "clocks free", None: None}[self.clocks_locked]
        facts = (
            f"JetPack {self.jetpack or 'unknown'} (L4T {self.l4t or 'unknown'})",
            self.tensorrt and f"TensorRT {self.tensorrt}",
            self.cuda and f"CUDA {self.cuda}",
            f"power mode {self.power_mode or 'unknown'}",
            clocks,
        )
        return ", ".join(filter(None, facts))


def probe(root: Path = Path("/")) -> Jetson | None:
    """Return the facts of the Jetson whose files are below `root`; None where it is not a Jetson. Never raises.

    On the running board `nvpmodel -q` is called where its status file cannot be read.
    """
    names = read_list(root / "proc/device-tree/compatible")
    l4t = l4t_of(read_text(root / "etc/nv_tegra_release"))
    known = next((CHIPS[name] for name in names if name in CHIPS), None)
    if known is None and l4t is None:
        return None
    packages = _packages(read_text(root / "var/lib/dpkg/status"))
    chip, sm = known or (None, None)
    return Jetson(
        chip=chip,
        sm=sm,
        l4t=l4t,
        jetpack=packages.get("nvidia-jetpack") or jetpack_of(l4t),
        tensorrt=next((packages[name] for name in sorted(packages) if re.fullmatch(r"libnvinfer\d+", name)), None),
        cuda=_cuda(root),
        power_mode=_power_mode(root),
        clocks_locked=_clocks_locked(root),
    )


def l4t_of(release: str) -> str | None:
    """Return the L4T release in `/etc/nv_tegra_release`: `# R36 (release), REVISION: 4.3, GCID: ...` is 36.4.3."""
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", release)
    return f"{match[1]}.{match[2].strip('.')}" if match else None


def jetpack_of(l4t: str | None) -> str | None:
    """Return the JetPack of an L4T release; None for one that is not in the table."""
    numbers = tuple(int(part) for part in (l4t or "").split(".") if part.isdigit())
    for length in range(len(numbers), 0, -1):
        if numbers[:length] in JETPACKS:
            return JETPACKS[numbers[:length]]
    return None


def power_mode_of(answer: str) -> str | None:
    """Return the mode that `nvpmodel -q` prints: warnings, then `NV Power Mode: 15W` and the mode's number."""
    match = re.search(r"^NV Power Mode:\s*(\S+)", answer, re.MULTILINE)
    return match[1] if match else None


def _power_mode(root: Path) -> str | None:
    status = re.search(r"pmode:(\d+)", read_text(root / "var/lib/nvpmodel/status"))
    if status:
        number = int(status[1])
        modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", read_text(root / "etc/nvpmodel.conf"))
        return next((name for mode, name in modes if int(mode) == number), f"mode {number}")
    if root != Path("/"):
        return None
    try:
        done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=QUERY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return power_mode_of(done.stdout)


def _clocks_locked(root: Path) -> bool | None:
    """Return whether the least and the greatest allowed frequency are equal, for every processor policy and the GPU."""
    pairs = [
        (folder / "scaling_min_freq", folder / "scaling_max_freq")
        for folder in sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*"))
    ]
    processors = len(pairs)
    for folder in sorted(root.glob("sys/class/devfreq/*")):
        if re.search(r"\.(gpu|ga10b|gv11b|gp10b|gm20b)$|^gpu", folder.name):
            pairs.append((folder / "min_freq", folder / "max_freq"))
    limits = [(read_text(low), read_text(high)) for low, high in pairs]
    if not processors or len(pairs) == processors or not all(low and high for low, high in limits):
        return None
    return all(low == high for low, high in limits)


def _packages(status: str) -> dict[str, str]:
    """Return the versions of NVIDIA's installed packages, from dpkg's status file: dpkg may not be on the path."""
    versions = {}
    for paragraph in status.split("\n\n"):
        name = re.search(r"^Package: (nvidia-jetpack|libnvinfer\d+)$", paragraph, re.MULTILINE)
        version = re.search(r"^Version: (\d+(?:\.\d+)*)", paragraph, re.MULTILINE)
        if name and version and "Status: install ok installed" in paragraph:
            parts = version[1].split(".")
            versions[name[1]] = version[1] if name[1] == "nvidia-jetpack" else ".".join(parts[:3])
    return versions


def _cuda(root: Path) -> str | None:
    try:
        content = json.loads(read_text(root / "usr/local/cuda/version.json"))
        return ".".join(str(content["cuda"]["version"]).split(".")[:2])
    except (ValueError, KeyError, TypeError):
        return None
