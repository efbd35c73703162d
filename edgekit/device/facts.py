"""What a device is, which target fits it, and what it lacks: read over its transport, with nothing installed there."""

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
from edgekit.device.hardware_report import RawFacts
from edgekit.device.transport import Transport
from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.target import host as hosts
from edgekit.target import jetson
from edgekit.target import target as targets
from edgekit.target.host import Host
from edgekit.target.target import Target

MIN_FREE_MB = 200
"""edgekit, a plugin and ONNX Runtime take 120 MB unpacked; a bundle and its results come on top."""


@dataclass(frozen=True)
class DeviceFacts(Record):
    """The hardware and software of a device."""

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
    """How many programs the kernel has killed since the boot because memory ran out."""
    l4t: str | None = None
    jetpack: str | None = None
    tensorrt: str | None = None
    power_mode: str | None = None
    gpu: str | None = None
    """Name, compute capability and driver of an NVIDIA card, as nvidia-smi prints them."""


@dataclass(frozen=True)
class TargetFit(Record):
    """A target, and the reasons why it does not fit a device; none where it fits."""

    name: str
    mismatches: tuple[str, ...] = ()
    points: int = 0
    """How many facts the target specifies: of targets that fit, the one with more is the narrower."""


@dataclass(frozen=True)
class ProbeResult(Record):
    """The result of a probe: the facts, the targets by how well they fit, and what is missing."""

    facts: DeviceFacts
    fits: tuple[TargetFit, ...]
    """Targets that fit, the narrowest first; where none does, the three that come nearest."""
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> str | None:
        """Return the name of the narrowest target that fits."""
        return next((fit.name for fit in self.fits if not fit.mismatches), None)


def read(transport: Transport, *, python: str = "") -> DeviceFacts:
    """Return the facts of a device. Raises DeviceError when it cannot be reached or does not answer."""
    return from_raw(transport.address, hardware_report.fetch(transport, python=python))


def from_raw(address: str, raw: RawFacts) -> DeviceFacts:
    """Return the facts that a device's report contains, read as `edgekit.target.host` reads this machine."""
    first = next((python for python in raw.pythons if python.path), None)
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(raw.facts.get("machine", ""), raw.facts.get("machine", ""))
    if raw.facts.get("bits") == "32":
        machine = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    libc = raw.facts.get("libc", "")
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as folder:
        root = Path(folder)
        raw.write(root)
        host = hosts.probe(
            root,
            arch=first.arch if first else machine or None,
            libc="musl" if "ld-musl" in libc else libc,
            python=first.version if first else "",
        )
        is_emulated = emulated(root, raw.facts.get("machine")) or "qemu" in raw.facts.get("exe", "").rpartition("/")[2]
    release = jetson.l4t_of(raw.text("/etc/nv_tegra_release"))
    return DeviceFacts(
        address=address,
        host=host,
        emulated=is_emulated,
        system=_system(raw),
        pythons=raw.pythons,
        home=raw.facts.get("home", ""),
        disk_free_mb=_mib(raw.facts.get("disk_free_kb", "")),
        memory_available_mb=_mib(_value(raw.text("/proc/meminfo"), "MemAvailable:")),
        oom_kills=_integer(_value(raw.text("/proc/vmstat"), "oom_kill")),
        l4t=release,
        jetpack=jetson.jetpack_of(release),
        tensorrt=raw.facts.get("tensorrt"),
        power_mode=raw.facts.get("power_mode"),
        gpu=raw.facts.get("gpu"),
    )


def probe(transport: Transport, *, python: str = "") -> ProbeResult:
    """Return what a device is, which target fits, and what is missing for a deployment."""
    facts = read(transport, python=python)
    ranked = rank_targets(facts.host)
    fitting = tuple(fit for fit in ranked if not fit.mismatches)
    return ProbeResult(facts, fitting or ranked[:3], missing(facts), notes(facts))


def choose_target(address: str, host: Host, wanted: str | None = None) -> str:
    """Return the target to build for a device: `wanted` if it fits, by default the narrowest that fits.

    Raises UnsupportedError, with the mismatches, where none fits.
    """
    if wanted is not None:
        problems = catalog.target(wanted).mismatches(host)
        if problems:
            raise UnsupportedError(
                f"the device '{address}' is not a '{wanted}'.",
                problems=problems,
                hint="leave --target out to take the target that fits the device",
            )
        return wanted
    ranked = rank_targets(host)
    if not ranked or ranked[0].mismatches:
        nearest = [f"{fit.name}: {'; '.join(fit.mismatches)}" for fit in ranked[:3]]
        raise UnsupportedError(
            f"no known target fits the device '{address}'.",
            problems=nearest,
            hint=f"write one: `edgekit devices probe {address} --write targets/mine.toml`",
        )
    return ranked[0].name


def rank_targets(host: Host) -> tuple[TargetFit, ...]:
    """Return every known target but `host`, by how well it fits a machine: the narrowest that fits is the first."""
    ranked = []
    for name, path in targets.available().items():
        if name == targets.HOST:
            continue
        try:
            target = targets.load(str(path))
        except EdgekitError:  # `edgekit targets` reports a bad file; the others must still be found
            continue
        if (points := _points(target)) > 0:
            foreign = target.device.arch not in (None, host.arch)  # nothing of another family is near
            ranked.append((foreign, TargetFit(name, target.mismatches(host), points)))
    ranked.sort(key=lambda pair: (pair[0], len(pair[1].mismatches), -pair[1].points, pair[1].name))
    return tuple(fit for _, fit in ranked)


def _points(target: Target) -> int:
    """Return how many facts of a target can be compared with a machine; a board's name counts by its length."""
    device = target.device
    if not (device.arch or device.isa or device.board or device.accelerator):
        return 0
    count = sum(getattr(device, item.name) not in (None, (), {}) for item in fields(device))
    return count + len(device.isa) + 100 * len(device.board or "")


def missing(facts: DeviceFacts) -> tuple[str, ...]:
    """Return what prevents a deployment, each with what helps."""
    problems = []
    usable = [python for python in facts.pythons if _problem(python) is None]
    if not facts.pythons:
        problems.append("no Python: install Python 3.10 or newer")
    elif not usable:
        problems.append(f"no Python that edgekit can use: {_problem(facts.pythons[0])}")
    elif not any("edgekit" in python.packages for python in usable):
        problems.append("edgekit is not installed: deploy with --bootstrap, which carries it there")
    if facts.disk_free_mb is not None and facts.disk_free_mb < MIN_FREE_MB:
        problems.append(f"{facts.disk_free_mb} MB of disk are free, {MIN_FREE_MB} are needed")
    if (facts.l4t or facts.host.accelerators == ("NVIDIA GPU",)) and facts.tensorrt is None:
        problems.append("TensorRT was not found: on a Jetson it comes with JetPack (`apt install nvidia-jetpack`)")
    return tuple(problems)


def notes(facts: DeviceFacts) -> tuple[str, ...]:
    """Return notes on a device for its user: the versions of runtimes that die on its processor."""
    return tuple(
        f"{known.package} {known.version} dies on this processor ({known.source}); these work: {known.works}"
        for known in fault.known()
        if known.concerns(facts.host)
    )


def _problem(python: Interpreter) -> str | None:
    """Return why a Python cannot be used; None for one that can."""
    try:
        wheels.check(python)
    except UnsupportedError as error:
        return error.message
    return None


def _system(raw: RawFacts) -> str | None:
    text = raw.text("/etc/os-release") or raw.text("/usr/lib/os-release")
    match = re.search(r"""^PRETTY_NAME=["']?(.*?)["']?$""", text, re.MULTILINE)
    return match[1] if match else None


def _value(text: str, name: str) -> str:
    """Return the word that follows `name` at the beginning of a line; empty where no line does."""
    rows = (line.split() for line in text.splitlines())
    return next((row[1] for row in rows if len(row) > 1 and row[0] == name), "")


def _integer(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _mib(text: str) -> int | None:
    """Return a number of KiB in MiB; None for what is not a number."""
    return int(text) // 1024 if text.isdigit() else None
