"""Deploying to a device, with `local:` in place of a board: real wheels, a real environment, real processes."""

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
    """The cache of the tests of this file, which download the same wheels."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(wheels, monkeypatch) -> Settings:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(wheels))
    return Settings(bootstrap=True, bench_options=FAST, python=sys.executable)


@pytest.mark.slow
def test_a_device_with_nothing_but_python(small_bundle, settings, home):
    """Wheels are sent once; the bundle is verified, measured and removed; `clean` leaves nothing."""
    (outcome,) = deployed(small_bundle.path, [HERE], settings)
    assert outcome.ok, outcome.fault
    assert outcome.report is not None and outcome.report.kind == "deploy"
    (candidate,) = outcome.report.candidates
    assert candidate.quality is not None and candidate.quality.ok
    assert candidate.measurement is not None and candidate.measurement.count > 0
    assert outcome.report.environment.packages["edgekit"] == "0.1.0"
    assert outcome.python is not None and outcome.python.startswith(str(home))
    assert {path.name for path in home.iterdir()} == {".cache"}
    folder = home / ".cache" / "edgekit-device"
    assert {path.name for path in folder.iterdir()} == {"edgekit-device", "env", "jobs", "packages"}
    assert outcome.bytes_sent > 10e6

    (second,) = deployed(small_bundle.path, [HERE], Settings(**{**vars(settings), "clean": True}))
    assert second.ok, second.fault
    assert second.bytes_sent < 1e5, "only the bundle is sent again"
    assert everything(home) == [".cache"]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_bundle_that_is_kept_is_verified_there_by_its_path(small_bundle, settings, home, run):
    (outcome,) = deployed(small_bundle.path, [HERE], Settings(**{**vars(settings), "keep": True, "bench": False}))
    assert outcome.ok, outcome.fault
    assert outcome.bundle is not None and (Path(outcome.bundle) / "manifest.json").is_file()
    assert outcome.report is not None and outcome.report.candidates[0].measurement is None
    verified = run("verify", outcome.bundle, "--device", "local:", "--json", "-q")
    assert json.loads(verified.stdout)["candidates"][0]["quality"]["checks"][0]["passed"] is True
    measured = run("bench", outcome.bundle, "--device", "local:", "--seconds", "0.05", "--json", "-q")
    assert json.loads(measured.stdout)["candidates"][0]["measurement"]["count"] > 0
    relative = Path(outcome.bundle).relative_to(home)
    assert run("verify", relative, "--device", "local:", "-q").exit_code == 0

    payload = next((Path(outcome.bundle) / "model").glob("*.onnx"))
    payload.write_bytes(payload.read_bytes()[:-1])
    damaged = run("verify", outcome.bundle, "--device", "local:", "-q")
    assert damaged.exit_code == 8
    assert mentions(damaged.stderr, "local:", "bundle")


def test_a_device_without_edgekit_is_an_error_that_names_bootstrap(small_bundle, home):
    (outcome,) = deploy.deploy(small_bundle.path, [HERE], Settings(python="/usr/bin/python3"))
    assert outcome.exit_code == EnvironmentFault.exit_code
    assert mentions(outcome.fault["message"], "/usr/bin/python3", "local:", "edgekit")
    assert "--bootstrap" in outcome.fault["hint"]
    assert not (home / ".cache" / "edgekit-device" / "bundles").exists()


def test_the_devices_own_edgekit(small_bundle, home):
    (outcome,) = deploy.deploy(small_bundle.path, [HERE], Settings(python=sys.executable, bench_options=FAST))
    assert outcome.ok, outcome.fault
    assert outcome.python == sys.executable
    assert outcome.report is not None and outcome.report.candidates[0].measurement is not None
    target = outcome.report.target
    assert target == "host"


def test_outputs_that_differ_fail_with_their_report(wrong_bundle, home):
    (outcome,) = deploy.deploy(wrong_bundle.path, [HERE], Settings(python=sys.executable))
    assert outcome.exit_code == 5
    assert outcome.report is not None and outcome.report.failures
    assert outcome.report.candidates[0].measurement is None, "wrong outputs are not measured"
    assert "relative L2" in outcome.fault["message"]


def test_one_that_fails_does_not_stop_the_others(small_bundle, home, monkeypatch):
    """The second address is not valid, the third device is switched off; the first is verified all the same."""
    devices = [HERE, Device("typo", "shs://board"), Device("off", "ssh://nobody@127.0.0.1:9")]
    outcomes = deploy.deploy(small_bundle.path, devices, Settings(python=sys.executable, bench=False))
    assert [outcome.name for outcome in outcomes] == ["here", "typo", "off"]
    assert [outcome.exit_code for outcome in outcomes] == [0, 2, 7]
    assert exit_code(outcomes) == 2, "the first that failed"
    assert exit_code(outcomes[:1]) == 0
    assert exit_code([outcomes[2], outcomes[1]]) == 7


def test_a_bundle_for_another_processor_is_not_even_sent(arm_bundle, home):
    (outcome,) = deploy.deploy(arm_bundle.path, [HERE], Settings(python=sys.executable))
    assert outcome.exit_code == 8
    assert mentions(outcome.fault["message"], ("aarch64", host.probe().arch))
    assert outcome.bytes_sent == 0


def test_the_target_in_the_fleet_file_is_compared_with_the_device(small_bundle, home):
    device = Device("kitchen", "local:", target="raspberry-pi-5")
    (outcome,) = deploy.deploy(small_bundle.path, [device], Settings(python=sys.executable, bench=False))
    assert outcome.ok
    assert any(mentions(note, "fleet", "'raspberry-pi-5'") for note in outcome.notes)


def test_a_runtime_that_dies_on_the_device_is_named(small_bundle, home, tmp_path):
    """A Python whose runtime dies with an illegal instruction, as one does on a processor without the instructions."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in *no_telemetry*) kill -ILL $$;; esac\nexec {shutil.which(sys.executable)} "$@"\n'
    )
    python.chmod(0o755)
    (outcome,) = deploy.deploy(small_bundle.path, [HERE], Settings(python=str(python)))
    assert outcome.exit_code == 7
    assert mentions(outcome.fault["message"], "illegal instruction")
    assert "onnxruntime" in outcome.fault["message"]
    assert outcome.fault["context"]["signal"] == "SIGILL"
