"""Deploying to a device, with `local:` in a board's place: real wheels, a real environment, real processes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from edgekit.device import deploy
from edgekit.device.deploy import Settings, exit_code
from edgekit.device.fleet import Device
from edgekit.errors import EnvironmentFault
from edgekit.target import host
from tests.deploying import deployed
from tests.wording import mentions

HERE = Device("here", "local:")
FAST = ("--seconds", "0.05")


def everything(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Keep the wheels that were downloaded for the tests of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(wheels, monkeypatch) -> Settings:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(wheels))
    return Settings(bootstrap=True, bench_options=FAST, python=sys.executable)


@pytest.mark.slow
def test_a_device_with_nothing_but_python(small_bundle, settings, home):
    """Wheels are sent once; the bundle is proved and measured; what was sent of it is gone; `clean` leaves nothing."""
    (one,) = deployed(small_bundle.path, [HERE], settings)
    assert one.ok, one.fault
    assert one.report is not None and one.report.kind == "deploy"
    (candidate,) = one.report.candidates
    assert candidate.quality is not None and candidate.quality.ok
    assert candidate.measurement is not None and candidate.measurement.count > 0
    assert one.report.environment.packages["edgekit"] == "0.1.0"
    assert one.python is not None and one.python.startswith(str(home))
    assert {path.name for path in home.iterdir()} == {".cache"}
    folder = home / ".cache" / "edgekit-device"
    assert {path.name for path in folder.iterdir()} == {"edgekit-device", "env", "jobs", "packages"}
    assert one.bytes_sent > 10e6

    (again,) = deployed(small_bundle.path, [HERE], Settings(**{**vars(settings), "clean": True}))
    assert again.ok, again.fault
    assert again.bytes_sent < 1e5, "only the bundle is sent again"
    assert everything(home) == [".cache"]


@pytest.mark.slow
def test_a_bundle_that_is_kept_is_proved_there_by_its_path(small_bundle, settings, home, run):
    (one,) = deployed(small_bundle.path, [HERE], Settings(**{**vars(settings), "keep": True, "bench": False}))
    assert one.ok, one.fault
    assert one.bundle is not None and (Path(one.bundle) / "manifest.json").is_file()
    assert one.report is not None and one.report.candidates[0].measurement is None
    proved = run("verify", one.bundle, "--device", "local:", "--json", "-q")
    assert json.loads(proved.stdout)["candidates"][0]["quality"]["checks"][0]["passed"] is True
    measured = run("bench", one.bundle, "--device", "local:", "--seconds", "0.05", "--json", "-q")
    assert json.loads(measured.stdout)["candidates"][0]["measurement"]["count"] > 0
    relative = Path(one.bundle).relative_to(home)
    assert run("verify", relative, "--device", "local:", "-q").exit_code == 0

    payload = next((Path(one.bundle) / "model").glob("*.onnx"))
    payload.write_bytes(payload.read_bytes()[:-1])
    damaged = run("verify", one.bundle, "--device", "local:", "-q")
    assert damaged.exit_code == 8
    assert mentions(damaged.stderr, "local:", "bundle")


def test_without_edgekit_on_the_device_the_way_out_is_told(small_bundle, home):
    (one,) = deploy.deploy(small_bundle.path, [HERE], Settings(python="/usr/bin/python3"))
    assert one.exit_code == EnvironmentFault.exit_code
    assert mentions(one.fault["message"], "/usr/bin/python3", "local:", "edgekit")
    assert "--bootstrap" in one.fault["hint"]
    assert not (home / ".cache" / "edgekit-device" / "bundles").exists()


def test_the_devices_own_edgekit(small_bundle, home):
    (one,) = deploy.deploy(small_bundle.path, [HERE], Settings(python=sys.executable, bench_options=FAST))
    assert one.ok, one.fault
    assert one.python == sys.executable
    assert one.report is not None and one.report.candidates[0].measurement is not None
    target = one.report.target
    assert target == "host"


def test_outputs_that_differ_fail_with_their_report(wrong_bundle, home):
    (one,) = deploy.deploy(wrong_bundle.path, [HERE], Settings(python=sys.executable))
    assert one.exit_code == 5
    assert one.report is not None and one.report.failures
    assert one.report.candidates[0].measurement is None, "what is wrong is not measured"
    assert "relative L2" in one.fault["message"]


def test_one_that_fails_does_not_stop_the_others(small_bundle, home, monkeypatch):
    """The second `device` is no address, the third is switched off; the first is proved all the same."""
    devices = [HERE, Device("typo", "shs://board"), Device("off", "ssh://nobody@127.0.0.1:9")]
    outcomes = deploy.deploy(small_bundle.path, devices, Settings(python=sys.executable, bench=False))
    assert [one.name for one in outcomes] == ["here", "typo", "off"]
    assert [one.exit_code for one in outcomes] == [0, 2, 7]
    assert exit_code(outcomes) == 2, "the first that failed"
    assert exit_code(outcomes[:1]) == 0
    assert exit_code([outcomes[2], outcomes[1]]) == 7


def test_a_bundle_for_another_processor_is_not_even_sent(arm_bundle, home):
    (one,) = deploy.deploy(arm_bundle.path, [HERE], Settings(python=sys.executable))
    assert one.exit_code == 8
    assert mentions(one.fault["message"], ("aarch64", host.probe().arch))
    assert one.bytes_sent == 0


def test_what_the_fleet_says_is_held_against_the_device(small_bundle, home):
    device = Device("kitchen", "local:", target="raspberry-pi-5")
    (one,) = deploy.deploy(small_bundle.path, [device], Settings(python=sys.executable, bench=False))
    assert one.ok
    assert any(mentions(note, "fleet", "'raspberry-pi-5'") for note in one.notes)


def test_what_dies_on_the_device_is_told_as_what_it_is(small_bundle, home, tmp_path):
    """A Python whose runtime dies with an illegal instruction, as one does on a processor without the instructions."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in *no_telemetry*) kill -ILL $$;; esac\nexec {shutil.which(sys.executable)} "$@"\n'
    )
    python.chmod(0o755)
    (one,) = deploy.deploy(small_bundle.path, [HERE], Settings(python=str(python)))
    assert one.exit_code == 7
    assert mentions(one.fault["message"], "illegal instruction")
    assert "onnxruntime" in one.fault["message"]
    assert one.fault["context"]["signal"] == "SIGILL"
