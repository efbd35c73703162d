"""The Pythons of a device, and the tags of the wheels that they can install."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit import catalog, registry
from edgekit._record import Record

MIN_PYTHON = (3, 10)
"""What edgekit itself needs."""

NEEDED = ("zipfile", "zlib", "ctypes", "json", "hashlib", "subprocess", "importlib.metadata")
"""Modules of the standard library without which neither edgekit nor a runtime starts: `-minimal` packages lack some."""

_PROGRAM = """
import os, sys
sys.path[:] = [entry for entry in sys.path if entry]  # a json.py in the working directory is not Python's
def write(key, value): print(key + "=" + str(value).replace(chr(10), " "))
write("path", os.path.realpath(sys.executable))
write("version", "%d.%d.%d" % sys.version_info[:3])
write("implementation", sys.implementation.name)
write("bits", 64 if sys.maxsize > 2**32 else 32)
write("machine", os.uname()[4])
try: write("libc", os.confstr("CS_GNU_LIBC_VERSION"))
except (ValueError, OSError, AttributeError):
    write("libc", "musl" if any(name.startswith("ld-musl") for name in os.listdir("/lib")) else "")
write("free_threaded", int(hasattr(sys, "_is_gil_enabled") and "free-threading" in sys.version))
missing = []
for name in NEEDED:
    try: __import__(name)
    except ImportError: missing.append(name)
write("missing", " ".join(missing))
if "importlib.metadata" not in missing:
    from importlib.metadata import PackageNotFoundError, version
    for name in PACKAGES:
        try: write("package", name + " " + version(name))
        except PackageNotFoundError: pass
"""


def program() -> str:
    """Return a program that prints what a Python, older or newer than ours, is, as lines of key=value.

    It prints the versions of edgekit, of the plugins known or installed here, and of their runtimes too.
    """
    plugins = [*registry.KNOWN_PLUGINS.values(), *(_package(name) for name in registry.names("backend"))]
    runtimes = [package for runtime in catalog.runtimes().values() for package in runtime.packages]
    packages = sorted({"edgekit", "numpy", *plugins, *runtimes})
    return f"NEEDED = {list(NEEDED)!r}\nPACKAGES = {packages!r}\n{_PROGRAM}"


def _package(backend: str) -> str:
    return registry.distribution("backend", backend).split()[0]


@dataclass(frozen=True)
class Interpreter(Record):
    """A Python on a device."""

    path: str
    """The path to call it by: a virtual environment's is a link whose name matters."""
    real: str
    """The path with its links resolved."""
    version: str
    implementation: str
    machine: str
    """The kernel's name of the processor's family."""
    bits: int
    libc: str
    """`glibc`, `musl`, or empty where it is unknown."""
    libc_version: str = ""
    free_threaded: bool = False
    missing: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, output: str, path: str) -> Interpreter | None:
        """Return the interpreter at `path` from what `program` printed there; None where that is incomplete."""
        pairs = [line.partition("=")[::2] for line in output.splitlines() if "=" in line]
        values = dict(pairs)
        if not {"path", "version", "implementation", "bits", "machine"} <= set(values) or not values["bits"].isdigit():
            return None
        libc, _, libc_version = values.get("libc", "").partition(" ")
        return cls(
            path=path,
            real=values["path"],
            version=values["version"],
            implementation=values["implementation"],
            machine={"arm64": "aarch64", "amd64": "x86_64"}.get(values["machine"], values["machine"]),
            bits=int(values["bits"]),
            libc=libc,
            libc_version=libc_version,
            free_threaded=values.get("free_threaded") == "1",
            missing=tuple(values.get("missing", "").split()),
            packages=dict(value.split(" ", 1) for key, value in pairs if key == "package" and " " in value),
        )

    @property
    def numbers(self) -> tuple[int, int]:
        """Return the major and minor version."""
        major, minor = re.findall(r"\d+", self.version)[:2]
        return int(major), int(minor)

    @property
    def short(self) -> str:
        """Return the major and minor version as text, such as `3.11`."""
        return "{}.{}".format(*self.numbers)

    @property
    def arch(self) -> str:
        """Return the architecture of its wheels: a 32-bit Python on a 64-bit kernel takes 32-bit ones."""
        if self.bits == 64:
            return self.machine
        return {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}.get(self.machine, self.machine)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Return every manylinux tag that its C library satisfies, the newest first (PEP 600 and its older names).

        All of them are needed: pip matches `--platform` literally, and takes an older version of a package where a tag
        is left out.
        """
        return manylinux(self.arch, self.libc_version)

    def __str__(self) -> str:
        libc = f"{self.libc} {self.libc_version}".strip() or "an unknown C library"
        return f"Python {self.version} ({self.arch}, {libc})"


_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def manylinux(arch: str, glibc: str) -> tuple[str, ...]:
    """Return the tags of an architecture up to a version of glibc, such as `2.36`."""
    match = re.fullmatch(r"2\.(\d+)", glibc)
    if not match:
        return ()
    oldest = 5 if arch in ("x86_64", "i686") else 17
    tags = []
    for minor in range(int(match[1]), oldest - 1, -1):
        tags.append(f"manylinux_2_{minor}_{arch}")
        if minor in _OLD_NAMES:
            tags.append(f"{_OLD_NAMES[minor]}_{arch}")
    return tuple(tags)
