"""Pythons and hosts of devices, as a probe would return them."""

from __future__ import annotations

from edgekit.device.environment.interpreter import Interpreter
from edgekit.target.host import Host


def python(version: str = "3.11.2", *, libc: str = "glibc 2.36", arch: str = "aarch64", bits: int = 64) -> Interpreter:
    name, _, number = libc.partition(" ")
    return Interpreter("/usr/bin/python3", "/usr/bin/python3", version, "cpython", arch, bits, name, number)


def board_host(
    isa: tuple[str, ...] = ("neon",), cpu: str = "Cortex-A72", arch: str = "aarch64", **facts: object
) -> Host:
    known: dict = {"memory_mb": 3794, "board": None, **facts}
    return Host(
        os="linux", arch=arch, cpu=cpu, isa=isa, cores=4, virtual=False, kernel="6.1", libc="glibc 2.36",
        python="3.11.2", **known,
    )  # fmt: skip
