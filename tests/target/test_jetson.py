"""Facts of a Jetson, read from fixture trees: constructed, as their PROVENANCE says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.target import jetson

HOSTS = Path(__file__).parent.parent / "fixtures" / "hosts"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_software_and_the_mode_of_an_orin_nano():
    facts = jetson.probe(HOSTS / "jetson-orin-nano")
    assert (facts.chip, facts.sm) == ("Orin", "8.7")
    assert (facts.l4t, facts.jetpack, facts.tensorrt, facts.cuda) == ("36.4.3", "6.2", "10.3.0", "12.6")
    assert facts.power_mode == "MAXN_SUPER"
    assert facts.clocks_locked is None, "the tree has no clocks"
    assert str(facts) == "JetPack 6.2 (L4T 36.4.3), TensorRT 10.3.0, CUDA 12.6, power mode MAXN_SUPER"


def test_a_thor_without_packages_has_unknown_facts():
    facts = jetson.probe(HOSTS / "jetson-agx-thor")
    assert (facts.chip, facts.sm, facts.l4t, facts.jetpack) == ("Thor", "11.0", "38.4.0", "7.1")
    assert (facts.tensorrt, facts.cuda, facts.power_mode) == (None, None, None)


@pytest.mark.parametrize("other", ["raspberry-pi-5", "intel-n100", "rk3588", "vm"])
def test_other_machines_are_not_a_jetson(other):
    assert jetson.probe(HOSTS / other) is None


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("39.2.0", "7.2"), ("38.4.0", "7.1"), ("38.2.1", "7.0"), ("36.5.0", "6.2.2"), ("36.4.7", "6.2.1"),
        ("36.4.4", "6.2.1"), ("36.4.3", "6.2"), ("36.4.0", "6.1"), ("36.3.0", "6.0"), ("35.6.1", "5.1"),
        ("32.7.4", "4.6"), ("36.4.9", None), ("40.1.0", None), (None, None),
    ],
)  # fmt: skip
def test_l4t_belongs_to_a_jetpack_or_it_is_unknown(l4t, jetpack):
    assert jetson.jetpack_of(l4t) == jetpack


@pytest.mark.parametrize(
    ("answer", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: 15W\n0\n", "15W"),
        ("NVPM ERROR: Permission denied\n", None),
        ("", None),
    ],
)
def test_the_answer_of_nvpmodel(answer, mode):
    assert jetson.power_mode_of(answer) == mode


def test_a_mode_without_a_name_keeps_its_number(tmp_path):
    shutil.copytree(HOSTS / "jetson-orin-nano", tmp_path / "root")
    (tmp_path / "root/etc/nvpmodel.conf").unlink()
    assert jetson.probe(tmp_path / "root").power_mode == "mode 2"


@pytest.mark.parametrize(("low", "locked"), [("306000000", False), ("1020000000", True)])
def test_clocks_are_locked_when_the_lowest_and_highest_are_equal(tmp_path, low, locked):
    write(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1")
    for policy in ("policy0", "policy4"):
        for limit in ("min", "max"):
            write(tmp_path, f"sys/devices/system/cpu/cpufreq/{policy}/scaling_{limit}_freq", "1728000\n")
    write(tmp_path, "sys/class/devfreq/17000000.gpu/min_freq", low)
    write(tmp_path, "sys/class/devfreq/17000000.gpu/max_freq", "1020000000")
    write(tmp_path, "sys/class/devfreq/15340000.vic/min_freq", "1")
    assert jetson.probe(tmp_path).clocks_locked is locked


def test_damaged_files_are_unknown_facts(tmp_path):
    write(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3")
    write(tmp_path, "usr/local/cuda/version.json", "{")
    write(tmp_path, "var/lib/nvpmodel/status", "\x00garbage")
    facts = jetson.probe(tmp_path)
    assert (facts.l4t, facts.cuda, facts.power_mode, facts.chip) == ("36.4.3", None, None, None)
