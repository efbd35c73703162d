"""The packages that a device needs for a bundle: the light core, one plugin and its runtime.

pip installs them into a folder of this machine, for the device's Python, processor and C library; a device without
internet gets them over its transport. A missing wheel is an error that lists what would help.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import cache, catalog, registry
from edgekit._process import python_module
from edgekit._record import digest_of
from edgekit._requirement import installed, normal, read
from edgekit.bundle.bundle import Bundle
from edgekit.device import fault
from edgekit.device.environment import local_packages
from edgekit.device.environment.interpreter import MIN_PYTHON, Interpreter, manylinux
from edgekit.errors import EnvironmentFault, UnsupportedError, UsageError
from edgekit.target.host import Host

ALONE = {"click", "filelock", "numpy", "packaging", "pillow", "tokenizers", "tomli"}
"""Packages of the core that run a bundle without the dependencies in their metadata; backends name those of their
runtimes. No protobuf, hub or telemetry on a device: the tests of the device side open bundles with all of that blocked.
"""

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

SYSTEMS = {
    "2.31": "Debian 11, Ubuntu 20.04",
    "2.35": "Ubuntu 22.04",
    "2.36": "Debian 12, Raspberry Pi OS 12",
    "2.39": "Ubuntu 24.04",
    "2.41": "Debian 13, Raspberry Pi OS 13",
}
"""A version of glibc, and the systems that have it."""

_NO_WHEEL = re.compile(r"Could not find a version that satisfies the requirement (\S+?) \(from versions: ([^)]*)\)")
_NO_INDEX = re.compile(
    r"NewConnectionError|ConnectTimeout|Max retries|Temporary failure in name|Network is unreachable"
)


@dataclass(frozen=True)
class Packages:
    """The packages of a device, each in a folder named NAME-VERSION, and notes on them."""

    folders: tuple[Path, ...]
    notes: tuple[str, ...] = ()


class NoWheel(Exception):
    """The index has no wheel for a requirement; `versions` are those of the package that have one."""

    def __init__(self, requirement: str, versions: Sequence[str]) -> None:
        super().__init__(requirement)
        self.requirement = requirement
        self.package = re.split(r"[<>=!~\[;]", requirement, maxsplit=1)[0]
        self.versions = tuple(versions)


def local(bundle: Bundle, folder: Path) -> tuple[Path, ...]:
    """Copy edgekit and the bundle's plugin, as they are installed here, into `folder`, and return a folder of each."""
    return tuple(local_packages.copy(name, folder) for name in ("edgekit", _plugin(bundle)))


def _plugin(bundle: Bundle) -> str:
    return registry.distribution("backend", bundle.manifest.backend).split()[0]


def resolve(bundle: Bundle, interpreter: Interpreter, host: Host, *, pins: Sequence[str] = ()) -> Packages:
    """Install every package that `bundle` needs on a device from an index, and return them.

    The runtime has this machine's version, with which the bundle was verified, where it has a wheel for the device.
    `pins` are requirements that override ours, as `onnxruntime==1.20.1`. Raises UnsupportedError with what helps.
    """
    check(interpreter)
    plugin = _plugin(bundle)
    wanted = requirements(bundle, plugin, interpreter, host, pins)
    runtime = set(catalog.runtime(bundle.manifest.backend).packages) - _names(pins)
    here = {name: installed(name) for name in wanted if name in runtime}
    same = {name: [*clauses, f"=={here[name]}"] if here.get(name) else clauses for name, clauses in wanted.items()}
    notes = []
    try:
        folders = install(same, interpreter)
    except NoWheel:
        try:
            folders = install(wanted, interpreter)
        except NoWheel as missing:
            raise no_wheel_error(missing, interpreter) from missing
    for path in folders:
        name, version = path.name.rsplit("-", 1)
        if here.get(name) not in (None, version):
            notes.append(f"{name} {version} on the device, {here[name]} here, which has no wheel for {interpreter}")
    return Packages(folders, tuple(notes))


def check(interpreter: Interpreter) -> None:
    """Raise UnsupportedError for a Python for which no wheels exist; no index is queried."""
    ways: tuple[str, ...] = ()
    what = None
    if interpreter.implementation != "cpython":
        what, ways = f"it is {interpreter.implementation}", ("install CPython on the device",)
    elif interpreter.numbers < MIN_PYTHON:
        what = f"edgekit needs Python {'.'.join(map(str, MIN_PYTHON))}"
        ways = ("install a newer Python beside it, and name it with --python PATH",)
    elif interpreter.bits == 32:
        what = "it is 32-bit, and the runtimes have no 32-bit wheels"
        ways = (
            ("its kernel is 64-bit: install a 64-bit Python, or the 64-bit system",)
            if interpreter.machine in ("aarch64", "x86_64")
            else ("if the processor is a Cortex-A53 or newer, install the 64-bit system (arm64)",)
        )
    elif interpreter.libc != "glibc":
        libc = interpreter.libc or "unknown"
        what = f"its C library is {libc}, and the runtimes' wheels are made for glibc"
        ways = ("use a system with glibc (Debian, Ubuntu, Raspberry Pi OS), or such a container on the device",)
    elif interpreter.missing:
        what = f"its standard library lacks {', '.join(interpreter.missing)}"
        ways = ("install all of it: `apt install python3` where only python3-minimal is installed",)
    if what is not None:
        raise UnsupportedError(
            f"nothing can be installed for the device's {interpreter}: {what}.",
            problems=ways,
            hint=f"`edgekit devices probe` lists the device's Pythons; this one is {interpreter.path}",
        )


def requirements(
    bundle: Bundle, plugin: str, interpreter: Interpreter, host: Host, pins: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Return what the bundle needs from an index: package to version clauses."""
    machine = {
        "python_version": interpreter.short,
        "python_full_version": interpreter.version,
        "platform_machine": interpreter.arch,
        "sys_platform": "linux",
    }
    wanted: dict[str, list[str]] = {}
    for line in (*_requires("edgekit"), *_requires(plugin), *_of_task(bundle)):
        requirement = read(line)
        if requirement and requirement.applies_on(machine) and requirement.name not in ("edgekit", plugin):
            wanted.setdefault(requirement.name, []).extend(requirement.clauses)
    for requires in bundle.manifest.requires:
        for name, clauses in dict(requires.get("packages", {})).items():
            if normal(name) in wanted:
                wanted[normal(name)] += clauses.split(",")
    for name in wanted:
        wanted[name] += fault.exclusions(name, host)
    for pin in pins:
        requirement = read(pin)
        if requirement is None:
            raise UsageError(f"cannot read the requirement '{pin}'.", hint="write it as pip does: onnxruntime==1.20.1")
        wanted[requirement.name] = list(requirement.clauses)  # the user's choice, even where it is a known fault
    return {name: sorted(set(clauses)) for name, clauses in sorted(wanted.items())}


def _requires(name: str) -> list[str]:
    from importlib.metadata import requires

    return requires(name) or []


def _of_task(bundle: Bundle) -> tuple[str, ...]:
    """Return what a task's inputs need: Pillow for pictures, tokenizers for texts, soundfile for sounds, as in the
    extras `tasks` and `audio`.
    """
    from edgekit.tasks import TaskConfig

    config = TaskConfig.load(bundle.path / "assets")
    if config is None:
        return ()
    needed = {"pillow": config.image, "tokenizers": config.text or config.generation, "soundfile": config.audio}
    extras = ("extra == 'tasks'", "extra == 'audio'")
    lines = (
        line.partition(";")[0]
        for line in _requires("edgekit")
        if any(extra in line.replace('"', "'") for extra in extras)
    )
    return tuple(line for line in lines if (package := read(line)) is not None and needed.get(package.name))


def _names(pins: Sequence[str]) -> set[str]:
    return {requirement.name for requirement in map(read, pins) if requirement is not None}


def install(wanted: dict[str, list[str]], interpreter: Interpreter) -> tuple[Path, ...]:
    """Install into the cache, once for the same requirements and tags; return a folder for each package.

    Known packages come without their dependencies (`ALONE`, `Runtime.alone`), others with them. Raises NoWheel.
    """
    lines = {name: name + ",".join(clauses) for name, clauses in wanted.items()}
    known = ALONE.union(*(runtime.alone for runtime in catalog.runtimes().values()))
    alone = [line for name, line in lines.items() if name in known]
    others = [line for name, line in lines.items() if name not in known]
    key = digest_of(["packages", alone, others, interpreter.short, interpreter.free_threaded, interpreter.platforms])

    def make(work: Path) -> None:
        for options, chosen in ((["--no-deps"], alone), ([], others)):
            if chosen:
                with tempfile.TemporaryDirectory(dir=work) as site:
                    _pip("install", [*options, "--no-compile", "--target", site, *chosen], interpreter)
                    local_packages.split(Path(site), work)
        for extra in work.glob("edgekit-*"):
            shutil.rmtree(extra)  # edgekit's own packages are copied from this installation

    folder, _ = cache.fetch(key, f"packages for {interpreter.short} {interpreter.arch}", make)
    return tuple(sorted(path for path in folder.iterdir() if path.is_dir()))


def _pip(verb: str, arguments: Sequence[str], interpreter: Interpreter) -> str:
    platforms = [word for tag in interpreter.platforms for word in ("--platform", tag)]
    abi = (
        ["--abi", f"cp{''.join(map(str, interpreter.numbers))}t", "--abi", "none"] if interpreter.free_threaded else []
    )
    words = [
        verb, "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", interpreter.short, *platforms, *abi, *arguments,
    ]  # fmt: skip
    done = subprocess.run(python_module("pip", *words), capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    if "No module named pip" in done.stderr:
        raise EnvironmentFault(
            "pip is not installed here, and resolves the wheels.", hint=f"{sys.executable} -m ensurepip"
        )
    if _NO_INDEX.search(done.stderr):
        raise EnvironmentFault(
            "the package index cannot be reached from this machine.",
            hint="connect it, or name a folder with the wheels in PIP_FIND_LINKS and set PIP_NO_INDEX=1",
        )
    if match := _NO_WHEEL.search(done.stderr):
        versions = [] if match[2] == "none" else [word.strip() for word in match[2].split(",")]
        raise NoWheel(match[1], versions)
    raise EnvironmentFault(
        f"pip could not install the packages for the device: {done.stderr.strip()[-800:]}",
        hint=f"try `pip {' '.join(words[:4])} ...` by hand",
    )


def no_wheel_error(missing: NoWheel, interpreter: Interpreter) -> UnsupportedError:
    """Return the error of a requirement without a wheel for a Python, with what would help."""
    newest = missing.versions[-1] if missing.versions else None  # pip lists them in order
    ends = f"; the newest that has one is {newest}" if newest else "; no version has one"
    ways = []
    others = [short for short in PYTHONS if short != interpreter.short]
    with ThreadPoolExecutor(3) as pool:  # each queries the index, and waits for it
        needed = pool.submit(_needed_glibc, missing.requirement, interpreter)
        results = pool.map(lambda short: _has_wheel(missing.requirement, interpreter, short), others)
        pythons = [short for short, has_wheel in zip(others, results, strict=True) if has_wheel]
        glibc = needed.result()
    if pythons:
        ways.append(f"there are wheels for Python {', '.join(pythons)} on the device")
    if glibc:
        system = SYSTEMS.get(glibc)
        ways.append(f"there are wheels for glibc {glibc} or newer" + (f" ({system})" if system else ""))
    if newest:
        ways.append(f"an older version can be chosen: --require '{missing.package}=={newest}'")
    return UnsupportedError(
        f"'{missing.requirement}' has no wheel for the device's {interpreter}{ends}.",
        problems=ways,
        hint="install another Python on the device and name it with --python, or choose another --backend at export",
        package=missing.package,
        newest=newest,
    )


def _has_wheel(requirement: str, interpreter: Interpreter, short: str) -> bool:
    return _wheel_of(requirement, replace(interpreter, version=f"{short}.0")) is not None


def _needed_glibc(requirement: str, interpreter: Interpreter) -> str | None:
    """Return the glibc that the newest matching wheel needs; None where glibc is not what is missing."""
    name = _wheel_of(requirement, replace(interpreter, libc_version="2.50"))
    minors = [int(minor) for minor in re.findall(rf"manylinux_2_(\d+)_{interpreter.arch}", name or "")]
    if name and not minors and manylinux(interpreter.arch, "2.17"):
        minors = [17] if f"manylinux2014_{interpreter.arch}" in name else []
    return f"2.{min(minors)}" if minors and f"2.{min(minors)}" != interpreter.libc_version else None


def _wheel_of(requirement: str, interpreter: Interpreter) -> str | None:
    """Return the file name of the wheel that pip would choose, without downloading it; None where there is none."""
    with tempfile.TemporaryDirectory() as folder:  # pip requires one for another platform, and leaves it empty
        arguments = ["--dry-run", "--no-deps", "--ignore-installed", "--target", folder, "--report", "-", requirement]
        try:
            report = json.loads(_pip("install", arguments, interpreter))
        except (NoWheel, EnvironmentFault, ValueError):
            return None
    return next((item["download_info"]["url"].rpartition("/")[2] for item in report.get("install", ())), None)
