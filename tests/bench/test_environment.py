"""The fingerprint of machine and software, and the signs of emulation."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pytest

from edgekit.bench.environment import emulated, environment, governor
from edgekit.result.report import Environment

X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 hypervisor\n"
ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\n"


def tree(root: Path, cpuinfo: str, exe: str = "/usr/bin/python3.11") -> Path:
    (root / "proc/thread-self").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    (root / "proc/thread-self/exe").symlink_to(exe)
    return root


def test_it_is_read_here_and_written_as_json():
    here = environment(("pytest", "no-such-package"))
    assert here.packages == {name: version(name) for name in ("edgekit", "numpy", "pytest")}
    created = datetime.fromisoformat(here.created)
    assert created.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - created) < timedelta(minutes=1)
    assert here.host.cores >= 1
    assert Environment.from_dict(here.to_dict()) == here


def test_governors_are_joined(tmp_path):
    assert governor(tmp_path) is None
    for core, word in enumerate(("schedutil", "performance", "schedutil")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(word + "\n")
    assert governor(tmp_path) == "performance, schedutil"


@pytest.mark.parametrize(
    ("cpuinfo", "exe", "machine", "expected"),
    [
        (X86, "/usr/bin/python3", "x86_64", False),
        (ARM, "/usr/bin/python3", "aarch64", False),
        (X86, "/usr/bin/python3", "aarch64", True),  # qemu-user before it forged the list of processors
        (ARM, "/usr/bin/qemu-aarch64-static", "aarch64", True),  # and since
        (X86.replace("Some Xeon", "QEMU TCG CPU version 2.5+"), "/usr/bin/python3", "x86_64", True),
        (X86.replace("Some Xeon", "QEMU Virtual CPU version 2.5+"), "/usr/bin/python3", "x86_64", True),
    ],
)
def test_signs_of_emulation(tmp_path, cpuinfo, exe, machine, expected):
    assert emulated(tree(tmp_path, cpuinfo, exe), machine) is expected


def test_nothing_to_read_is_not_a_sign(tmp_path):
    assert emulated(tmp_path, "aarch64") is False
