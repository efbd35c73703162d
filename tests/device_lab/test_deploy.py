"""Bundles on the emulated boards: verified there over SSH with wheels for their processor, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.bundle import bundle as bundles
from edgekit.device import connect, facts
from edgekit.device.deploy import Settings
from edgekit.device.fleet import Device
from tests.bundles import pictures
from tests.deploying import deployed
from tests.device_lab.board import CPUS
from tests.wording import mentions


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("arm"), goal="raspberry-pi-4")


@pytest.fixture
def wheels(lab, monkeypatch) -> None:
    """Keep wheels with the lab's other downloads, for the next run."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(lab.folder / "edgekit"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "cpus",
    [("cortex-a72",), pytest.param(tuple(CPUS), marks=pytest.mark.nightly)],
    ids=["one processor", "three processors at once"],
)
def test_a_bundle_is_proved_on_the_boards(cpus, bundle, board, wheels):
    boards = {cpu: board(cpu) for cpu in cpus}
    devices = [Device(cpu, board.address) for cpu, board in boards.items()]
    manifest = bundles.open(bundle, check=False).manifest
    for outcome in deployed(bundle, devices, Settings(bootstrap=True)):
        assert outcome.ok, outcome.fault
        assert outcome.facts is not None and outcome.facts.emulated
        report = outcome.report
        assert report is not None and report.environment.emulated
        assert report.environment.host.arch == "aarch64"
        (candidate,) = report.candidates
        assert candidate.quality is not None and candidate.quality.rel_l2 < 1e-5
        assert candidate.measurement is None, "an emulated board yields no time"
        assert report.evidence == manifest.evidence, "and no evidence"
        home = boards[outcome.name].home
        folder = home / ".cache" / "edgekit-device"
        assert {path.name for path in folder.iterdir()} == {"edgekit-device", "env", "jobs", "packages"}
        assert {path.name for path in home.iterdir()} <= {".cache"}


@pytest.mark.slow
@pytest.mark.nightly
def test_what_the_board_has_is_not_sent_again(bundle, board, wheels):
    device = Device("a72", board("cortex-a72").address)
    for settings in (Settings(bootstrap=True, bench=False), Settings(bootstrap=True, clean=True)):
        (outcome,) = deployed(bundle, [device], settings)
        assert outcome.ok, outcome.fault
    assert outcome.bytes_sent < 1e5
    assert not list(board("cortex-a72").home.rglob("*edgekit*"))


@pytest.mark.slow
def test_a_runtime_that_dies_is_reported_as_an_illegal_instruction(bundle, board, wheels):
    """ONNX Runtime 1.21.0 uses instructions at import that a Cortex-A72 does not support."""
    device = Device("a72", board("cortex-a72").address)
    settings = Settings(bootstrap=True, clean=True, bench=False, pins=("onnxruntime==1.21.0",))
    (outcome,) = deployed(bundle, [device], settings)
    assert outcome.exit_code == 7
    message = outcome.fault["message"]
    assert mentions(message, ("illegal instruction", "Cortex-A72", "onnxruntime 1.21.0"))
    assert mentions(message, "1.20.1")
    assert not list(board("cortex-a72").home.rglob("*edgekit*"))


def test_a_board_is_probed_with_nothing_installed(board):
    with connect(board("cortex-a72").address) as transport:
        probe = facts.probe(transport)
    read = probe.facts
    assert (read.host.arch, read.host.cpu, read.host.isa) == ("aarch64", "Cortex-A72", ("neon",))
    assert read.emulated
    assert [python.short for python in read.pythons] == ["3.11"]
    assert (read.pythons[0].libc, read.pythons[0].libc_version) == ("glibc", "2.36")
    assert probe.target is None, "the emulated board does not name itself a Raspberry Pi"
    assert probe.fits[0].name == "raspberry-pi-4"
    assert any("--bootstrap" in problem for problem in probe.missing)
    assert any(mentions(note, "onnxruntime 1.21.0") for note in probe.notes)
