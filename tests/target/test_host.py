"""The facts that edgekit reads from a machine: this one, and trees of others (constructed: see
fixtures/hosts/PROVENANCE).
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest

from edgekit.target import host, target
from edgekit.target.host import Host

HOSTS = Path(__file__).parent.parent / "fixtures" / "hosts"


def test_this_machine_agrees_with_python() -> None:
    here = host.probe()
    assert here.arch == {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    assert here.kernel == platform.release()
    assert here.python == platform.python_version()
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert here.memory_mb and here.memory_mb > 256
    assert Host.from_dict(here.to_dict()) == here


@pytest.mark.parametrize(
    ("name", "arch", "cpu", "isa", "cores", "memory_mb", "board", "virtual"),
    [
        ("raspberry-pi-4", "aarch64", "Cortex-A72", ("neon",), 4, 3794, "Raspberry Pi 4 Model B Rev 1.5", False),
        (
            "raspberry-pi-5",
            "aarch64",
            "Cortex-A76",
            ("dotprod", "fp16", "neon"),
            4,
            8052,
            "Raspberry Pi 5 Model B Rev 1.0",
            False,
        ),
        (
            "jetson-orin-nano",
            "aarch64",
            "Cortex-A78AE",
            ("dotprod", "fp16", "neon"),
            6,
            7619,
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            False,
        ),
        (
            "rk3588",
            "aarch64",
            "Cortex-A55 + Cortex-A76",
            ("dotprod", "fp16", "neon"),
            8,
            15764,
            "Radxa ROCK 5B",
            False,
        ),
        ("intel-n100", "x86_64", "Intel(R) N100", ("avx2", "avx_vnni"), 4, 15745, "Mini PC", False),
        # one processor and 1 GiB by the control group, of two and 4 GB that the machine has
        ("vm", "x86_64", "Intel(R) Xeon(R) Processor", ("avx2", "avx512_vnni", "avx512f"), 1, 1024, None, True),
    ],
)
def test_other_machines_are_read_from_their_trees(name, arch, cpu, isa, cores, memory_mb, board, virtual) -> None:
    machine = host.probe(HOSTS / name)
    assert (machine.arch, machine.cpu, machine.isa, machine.cores) == (arch, cpu, isa, cores)
    assert (machine.memory_mb, machine.board, machine.virtual) == (memory_mb, board, virtual)


def test_device_tree_and_pci_bus_name_chip_and_accelerator() -> None:
    assert host.probe(HOSTS / "rk3588").compatible == ("radxa,rock-5b", "rockchip,rk3588")
    assert host.probe(HOSTS / "intel-n100").accelerators == ("Intel GPU",)
    assert host.probe(HOSTS / "vm").accelerators == ()


@pytest.mark.parametrize("name", ["raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano", "rk3588", "intel-n100"])
def test_each_machine_is_its_own_target_and_no_other(name: str) -> None:
    machine = host.probe(HOSTS / name)
    fits = {fit for fit in target.available() if fit != "host" and not target.load(fit).mismatches(machine)}
    also = {"jetson-orin-nano": {"jetson"}}.get(name, set())
    assert fits == {name, *also}


def test_a_virtual_machine_is_none_of_the_boards() -> None:
    machine = host.probe(HOSTS / "vm")
    fits = {fit for fit in target.available() if fit != "host" and not target.load(fit).mismatches(machine)}
    assert fits == {"x86-avx512-vnni"}


def test_isa_is_what_every_core_has(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "proc" / "cpuinfo"
    cpuinfo.parent.mkdir()
    text = (HOSTS / "rk3588" / "proc" / "cpuinfo").read_text()
    cpuinfo.write_text(text.replace(" asimddp", "", 1))
    assert host.probe(tmp_path).isa == ("fp16", "neon")


def test_unknown_arm_core_is_shown_by_its_numbers(tmp_path: Path) -> None:
    shutil.copytree(HOSTS / "raspberry-pi-4", tmp_path, dirs_exist_ok=True)
    cpuinfo = tmp_path / "proc" / "cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text().replace("0xd08", "0xfff"))
    assert host.probe(tmp_path).cpu == "ARM implementer 0x41 part 0xfff"


def test_32_bit_arm_is_recognised(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "proc" / "cpuinfo"
    cpuinfo.parent.mkdir()
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\nFeatures\t: half thumb neon vfpv4\n"
        "CPU implementer\t: 0x41\nCPU architecture: 7\nCPU part\t: 0xd08\n"
    )
    machine = host.probe(tmp_path)
    assert machine.arch == "armv7l"
    assert machine.isa == ()


def test_a_tree_without_facts_gives_unknowns(tmp_path: Path) -> None:
    machine = host.probe(tmp_path)
    assert (machine.cpu, machine.isa, machine.memory_mb, machine.board, machine.kernel) == (
        None,
        (),
        None,
        None,
        "unknown",
    )
    assert machine.virtual is False
    assert machine.cores == 1


def test_garbage_is_unknown_not_a_crash(tmp_path: Path) -> None:
    shutil.copytree(HOSTS / "vm", tmp_path, dirs_exist_ok=True)
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            path.write_bytes(b"\xff\x00:garbage\nMemTotal: many kB\nprocessor\n: \n")
    machine = host.probe(tmp_path)
    assert (machine.memory_mb, machine.isa) == (None, ())


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    shutil.copytree(HOSTS / "intel-n100", tmp_path, dirs_exist_ok=True)
    for name, text in {
        "cpu/cpu.cfs_quota_us": "250000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "2147483648",
    }.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    machine = host.probe(tmp_path)
    assert (machine.cores, machine.memory_mb) == (2, 2048)


def test_fixtures_state_that_they_were_constructed() -> None:
    text = (HOSTS / "PROVENANCE").read_text()
    for folder in HOSTS.iterdir():
        if folder.is_dir():
            assert folder.name in text
    assert "none was captured" in text


def test_a_graphics_card_is_distinguished_from_integrated_graphics(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("0000:00:02.0", "0x8086", "0x030000"),
        ("0000:03:00.0", "0x8086", "0x030000"),
        ("0000:00:0b.0", "0x8086", "0x120000"),
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:00:1f.3", "0x8086", "0x040300"),
    ):
        folder = tmp_path / "sys" / "bus" / "pci" / "devices" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
    machine = host.probe(tmp_path)
    assert machine.accelerators == ("Intel Arc GPU", "Intel GPU", "Intel NPU", "NVIDIA GPU")
    assert target.load("nvidia-gpu").mismatches(machine) == ()
    assert target.load("intel-arc").mismatches(machine) == ()
