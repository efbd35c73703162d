"""Whether this machine is a target's device."""

from __future__ import annotations

from dataclasses import replace

from edgekit.target import host
from edgekit.target.target import Device, Target
from tests.wording import mentions


def test_mismatches_name_every_difference() -> None:
    here = replace(host.probe(), arch="x86_64", isa=("avx2",), board=None, compatible=(), accelerators=())
    wanted = Target("t", "s", device=Device(arch="aarch64", isa=("neon",), board="Orin", accelerator="NVIDIA GPU"))
    assert len(wanted.mismatches(here)) == 3
    assert Target("t", "s").mismatches(here) == ()


def test_a_richer_processor_is_another_device() -> None:
    poor, rich = ("avx2",), ("avx2", "avx512_vnni")
    machine = host.probe()
    wanted = Target("t", "s", device=Device(isa=poor))
    assert wanted.mismatches(replace(machine, isa=poor)) == ()
    (richer,) = wanted.mismatches(replace(machine, isa=rich))
    (poorer,) = Target("t", "s", device=Device(isa=rich)).mismatches(replace(machine, isa=poor))
    assert mentions(richer, "avx512_vnni", "target") and mentions(poorer, "avx512_vnni") and richer != poorer


def test_the_board_implies_its_accelerator() -> None:
    wanted = Target("t", "s", device=Device(board="Orin", accelerator="NVIDIA GPU, Ampere"))
    machine = replace(host.probe(), board=None, compatible=(), accelerators=())
    assert wanted.mismatches(replace(machine, board="NVIDIA Jetson Orin Nano")) == ()
    assert len(wanted.mismatches(replace(machine, accelerators=("NVIDIA GPU",)))) == 1, "the right GPU, another board"
