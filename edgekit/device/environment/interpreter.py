"""The Python of a device: what a wheel must fit to run there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit import catalog, registry
from edgekit._record import Record

LEAST = (3, 10)
"""What edgekit itself needs."""

NEEDED = ("zipfile", "zlib", "ctypes", "json", "hashlib", "subprocess", "importlib.metadata")
"""Modules of the standard library without which neither edgekit nor a runtime starts: `-minimal` packages lack some."""

_QUESTION = """
import os, sys
def say(key, value): print(key + "=" + str(value).replace(chr(10), " "))
say("path", os.path.realpath(sys.executable))
say("version", "%d.%d.%d" % sys.version_info[:3])
say("implementation", sys.implementation.name)
say("bits", 64 if sys.maxsize > 2**32 else 32)
say("machine", os.uname()[4])
try: say("libc", os.confstr("CS_GNU_LIBC_VERSION"))
except (ValueError, OSError, AttributeError):
    say("libc", "musl" if any(name.startswith("ld-musl") for name in os.listdir("/lib")) else "")
say("free_threaded", int(hasattr(sys, "_is_gil_enabled") and "free-threading" in sys.version))
missing = []
for name in NEEDED:
    try: __import__(name)
    except ImportError: missing.append(name)
say("missing", " ".join(missing))
if "importlib.metadata" not in missing:
    from importlib.metadata import PackageNotFoundError, version
    for name in ASKED:
        try: say("package", name + " " + version(name))
        except PackageNotFoundError: pass
"""


def question() -> str:
    """Return a program that a Python older or newer than ours answers with lines of key=value.

    It asks for the versions of edgekit, of the plugins known or installed here, and of their runtimes.
    """
    plugins = [*registry.KNOWN_PLUGINS.values(), *(_package(name) for name in registry.names("backend"))]
    runtimes = [package for runtime in catalog.runtimes().values() for package in runtime.packages]
    asked = sorted({"edgekit", "numpy", *plugins, *runtimes})
    return f"NEEDED = {list(NEEDED)!r}\nASKED = {asked!r}\n{_QUESTION}"


def _package(backend: str) -> str:
    return registry.distribution("backend", backend).split()[0]


@dataclass(frozen=True)
class Interpreter(Record):
    """What a Python on a device is."""

    path: str
    """By which it is called: a virtual environment's is a link whose name matters."""
    real: str
    """What that leads to."""
    version: str
    implementation: str
    machine: str
    """The kernel's word for the processor's family."""
    bits: int
    libc: str
    """`glibc`, `musl`, or empty where it does not say."""
    libc_version: str = ""
    free_threaded: bool = False
    missing: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, answer: str, named: str) -> Interpreter | None:
        """Read the answer to the question; None where it is none. `named` is the path by which it was called."""
        pairs = [line.partition("=")[::2] for line in answer.splitlines() if "=" in line]
        said = dict(pairs)
        if not {"path", "version", "implementation", "bits", "machine"} <= set(said) or not said["bits"].isdigit():
            return None
        libc, _, libc_version = said.get("libc", "").partition(" ")
        return cls(
            path=named,
            real=said["path"],
            version=said["version"],
            implementation=said["implementation"],
            machine={"arm64": "aarch64", "amd64": "x86_64"}.get(said["machine"], said["machine"]),
            bits=int(said["bits"]),
            libc=libc,
            libc_version=libc_version,
            free_threaded=said.get("free_threaded") == "1",
            missing=tuple(said.get("missing", "").split()),
            packages=dict(value.split(" ", 1) for key, value in pairs if key == "package" and " " in value),
        )

    @property
    def numbers(self) -> tuple[int, int]:
        """Give major and minor version."""
        major, minor = re.findall(r"\d+", self.version)[:2]
        return int(major), int(minor)

    @property
    def short(self) -> str:
        """Give `3.11`."""
        return "{}.{}".format(*self.numbers)

    @property
    def arch(self) -> str:
        """Give what its wheels must be for: a 32-bit Python on a 64-bit kernel takes 32-bit ones."""
        if self.bits == 64:
            return self.machine
        return {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}.get(self.machine, self.machine)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Give every manylinux tag that its C library fulfils, the newest first (PEP 600 and its older names).

        All of them: pip takes a `--platform` literally, and an older version of a package where one is left out.
        """
        return manylinux(self.arch, self.libc_version)

    def __str__(self) -> str:
        libc = f"{self.libc} {self.libc_version}".strip() or "an unknown C library"
        return f"Python {self.version} ({self.arch}, {libc})"


_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def manylinux(arch: str, glibc: str) -> tuple[str, ...]:
    """List the tags of an architecture up to a version of glibc, as `2.36`."""
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
