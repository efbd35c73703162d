"""What a device is, which target fits it, and what it lacks: found over its transport, with nothing installed there."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from edgekit import catalog
from edgekit._record import Record
from edgekit.bench.environment import emulated
from edgekit.device import fault, hardware_report
from edgekit.device.environment import wheels
from edgekit.device.environment.interpreter import Interpreter
from edgekit.device.hardware_report import Told
from edgekit.device.transport import Transport
from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.target import host as hosts
from edgekit.target import jetson
from edgekit.target import target as targets
from edgekit.target.host import Host
from edgekit.target.target import Target

LEAST_FREE_MB = 200
"""What edgekit, a plugin and ONNX Runtime take unpacked is 120 MB; a bundle and its results come on top."""


@dataclass(frozen=True)
class Facts(Record):
    """What a device is."""

    address: str
    host: Host
    emulated: bool
    system: str | None
    """The system's name, as `Debian GNU/Linux 12 (bookworm)`."""
    pythons: tuple[Interpreter, ...]
    home: str
    disk_free_mb: int | None = None
    memory_available_mb: int | None = None
    oom_kills: int | None = None
    """How often the kernel ended a program for want of memory, since it was started."""
    l4t: str | None = None
    jetpack: str | None = None
    tensorrt: str | None = None
    power_mode: str | None = None
    gpu: str | None = None
    """Name, compute capability and driver of an NVIDIA card, as nvidia-smi says."""


@dataclass(frozen=True)
class Fit(Record):
    """A target, and why a device is none of its kind; no reason means that it is."""

    name: str
    mismatches: tuple[str, ...] = ()
    points: int = 0
    """How many facts it names: of targets that fit, the one that says more is the narrower."""


@dataclass(frozen=True)
class Found(Record):
    """What a probe found: the facts, the targets by how well they fit, and what is missing."""

    facts: Facts
    fits: tuple[Fit, ...]
    """Targets that fit, the narrowest first; where none does, the three that come nearest."""
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> str | None:
        """Give the name of the narrowest target that fits."""
        return next((fit.name for fit in self.fits if not fit.mismatches), None)


def read(transport: Transport, *, python: str = "") -> Facts:
    """Ask a device what it is. Raises DeviceError when it cannot be reached or does not answer."""
    return facts(transport.address, hardware_report.ask(transport, python=python))


def facts(address: str, told: Told) -> Facts:
    """Read what a device told as `edgekit.target.host` reads this machine."""
    first = next((one for one in told.pythons if one.path), None)
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(told.facts.get("machine", ""), told.facts.get("machine", ""))
    if told.facts.get("bits") == "32":
        machine = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    libc = told.facts.get("libc", "")
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as folder:
        root = Path(folder)
        told.write(root)
        host = hosts.probe(
            root,
            arch=first.arch if first else machine or None,
            libc="musl" if "ld-musl" in libc else libc,
            python=first.version if first else "",
        )
        unreal = emulated(root, told.facts.get("machine")) or "qemu" in told.facts.get("exe", "").rpartition("/")[2]
    release = jetson.l4t_of(told.text("/etc/nv_tegra_release"))
    return Facts(
        address=address,
        host=host,
        emulated=unreal,
        system=_system(told),
        pythons=told.pythons,
        home=told.facts.get("home", ""),
        disk_free_mb=_thousandth(told.facts.get("disk_free_kb", "")),
        memory_available_mb=_thousandth(_line(told.text("/proc/meminfo"), "MemAvailable:")),
        oom_kills=_whole(_line(told.text("/proc/vmstat"), "oom_kill")),
        l4t=release,
        jetpack=jetson.jetpack_of(release),
        tensorrt=told.facts.get("tensorrt"),
        power_mode=told.facts.get("power_mode"),
        gpu=told.facts.get("gpu"),
    )


def probe(transport: Transport, *, python: str = "") -> Found:
    """Say what a device is, which target fits, and what is missing for a deployment."""
    found = read(transport, python=python)
    ranked = fits(found.host)
    good = tuple(fit for fit in ranked if not fit.mismatches)
    return Found(found, good or ranked[:3], missing(found), notes(found))


def chosen(address: str, host: Host, wanted: str | None = None) -> str:
    """Give the target to build for a device: the narrowest that fits, or the one that is wanted, if it fits.

    Raises UnsupportedError, with what does not agree, where none does.
    """
    if wanted is not None:
        problems = catalog.target(wanted).mismatches(host)
        if problems:
            raise UnsupportedError(
                f"the device '{address}' is no '{wanted}'.",
                problems=problems,
                hint="leave --target out to take the target that fits the device",
            )
        return wanted
    ranked = fits(host)
    if not ranked or ranked[0].mismatches:
        nearest = [f"{fit.name}: {'; '.join(fit.mismatches)}" for fit in ranked[:3]]
        raise UnsupportedError(
            f"no known target fits the device '{address}'.",
            problems=nearest,
            hint=f"write one: `edgekit devices probe {address} --write targets/mine.toml`",
        )
    return ranked[0].name


def fits(host: Host) -> tuple[Fit, ...]:
    """Give every known target but `host` for a machine: those that fit first, the narrowest first."""
    ranked = []
    for name, path in targets.available().items():
        if name == targets.HOST:
            continue
        try:
            known = targets.load(str(path))
        except EdgekitError:  # `edgekit targets` tells of a bad file; the others must still be found
            continue
        if (points := _points(known)) > 0:
            foreign = known.device.arch not in (None, host.arch)  # nothing of another family is near
            ranked.append((foreign, Fit(name, known.mismatches(host), points)))
    ranked.sort(key=lambda one: (one[0], len(one[1].mismatches), -one[1].points, one[1].name))
    return tuple(fit for _, fit in ranked)


def _points(known: Target) -> int:
    """Count what a target says that a machine can be held against; a board's name counts by its length."""
    device = known.device
    if not (device.arch or device.isa or device.board or device.accelerator):
        return 0
    told = sum(getattr(device, item.name) not in (None, (), {}) for item in fields(device))
    return told + len(device.isa) + 100 * len(device.board or "")


def missing(found: Facts) -> tuple[str, ...]:
    """Say what stands in the way of a deployment, each with what helps."""
    problems = []
    usable = [python for python in found.pythons if _refusal(python) is None]
    if not found.pythons:
        problems.append("no Python: install Python 3.10 or newer")
    elif not usable:
        problems.append(f"no Python that edgekit can use: {_refusal(found.pythons[0])}")
    elif not any("edgekit" in python.packages for python in usable):
        problems.append("edgekit is not installed: deploy with --bootstrap, which carries it there")
    if found.disk_free_mb is not None and found.disk_free_mb < LEAST_FREE_MB:
        problems.append(f"{found.disk_free_mb} MB of disk are free, {LEAST_FREE_MB} are wanted")
    if (found.l4t or found.host.accelerators == ("NVIDIA GPU",)) and found.tensorrt is None:
        problems.append("TensorRT was not found: on a Jetson it comes with JetPack (`apt install nvidia-jetpack`)")
    return tuple(problems)


def notes(found: Facts) -> tuple[str, ...]:
    """Say what a user should know of a device: versions that die on its processor."""
    said = []
    for known in fault.known():
        if known.concerns(found.host):
            said.append(
                f"{known.package} {known.version} dies on this processor ({known.source}); these work: {known.works}"
            )
    return tuple(said)


def _refusal(python: Interpreter) -> str | None:
    try:
        wheels.check(python)
    except UnsupportedError as error:
        return error.message
    return None


def _system(told: Told) -> str | None:
    text = told.text("/etc/os-release") or told.text("/usr/lib/os-release")
    match = re.search(r"""^PRETTY_NAME=["']?(.*?)["']?$""", text, re.MULTILINE)
    return match[1] if match else None


def _line(text: str, name: str) -> str:
    words = (line.split() for line in text.splitlines())
    return next((found[1] for found in words if len(found) > 1 and found[0] == name), "")


def _whole(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _thousandth(text: str) -> int | None:
    """Give MiB of a number of KiB."""
    return int(text) // 1024 if text.isdigit() else None
