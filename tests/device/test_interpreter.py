"""The Python of a device: read from what it prints, and the tags of the wheels that it takes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from edgekit.device.environment.interpreter import Interpreter, manylinux, program
from tests.device.boards import python


def test_this_python_is_read():
    printed = subprocess.run([sys.executable, "-c", program()], capture_output=True, text=True, check=True).stdout
    interpreter = Interpreter.read(printed, "/a/link")
    assert interpreter is not None
    assert (interpreter.path, interpreter.implementation) == ("/a/link", "cpython")
    assert interpreter.version == platform.python_version()
    assert (interpreter.bits, interpreter.libc) == (64, "glibc")
    assert interpreter.missing == ()
    assert interpreter.packages["edgekit"] == "0.1.0"


def test_other_output_is_not_a_python():
    assert Interpreter.read("sh: python3: not found", "/usr/bin/python3") is None
    assert Interpreter.read("", "/usr/bin/python3") is None


def test_a_32_bit_python_on_a_64_bit_kernel_takes_32_bit_wheels():
    assert python(bits=32).arch == "armv7l"
    assert python(arch="x86_64", bits=32).arch == "i686"


@pytest.mark.parametrize(
    ("arch", "glibc", "some", "none"),
    [
        ("aarch64", "2.31", ("manylinux_2_31_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"), "2_32"),
        ("aarch64", "2.36", ("manylinux_2_36_aarch64", "manylinux_2_27_aarch64"), "2_16_"),
        ("x86_64", "2.36", ("manylinux2010_x86_64", "manylinux1_x86_64", "manylinux_2_5_x86_64"), "2_37"),
    ],
)
def test_every_tag_up_to_its_c_library(arch, glibc, some, none):
    tags = manylinux(arch, glibc)
    assert set(some) <= set(tags)
    assert not [tag for tag in tags if none in tag]
    assert tags[0] == f"manylinux_{glibc.replace('.', '_')}_{arch}"


def test_another_c_library_has_none():
    assert python(libc="musl").platforms == ()
