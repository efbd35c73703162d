"""Bundles to deploy to devices."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest

from edgekit.bundle import bundle as bundles
from edgekit.bundle import staging
from edgekit.bundle.bundle import Bundle
from tests.bundles import pictures, texts


@pytest.fixture(scope="session")
def picture_bundle(tmp_path_factory) -> Bundle:
    return bundles.open(pictures(tmp_path_factory.mktemp("pictures")))


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory) -> Bundle:
    return bundles.open(texts(tmp_path_factory.mktemp("texts")))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home folder of the device `local:`, where edgekit's folder will be."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv(
        "RUSTUP_HOME", str(tmp_path / "rustup")
    )  # pip asks rustc for its version, whose stub writes there
    return place


@pytest.fixture(scope="session")
def small_bundle(picture_bundle, tmp_path_factory) -> Bundle:
    """The bundle of pictures without its task, which needs Pillow: its environment is the smallest."""
    return _without(picture_bundle, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def wrong_bundle(tmp_path_factory) -> Bundle:
    """A bundle whose stored outputs differ from those that it computes."""
    return bundles.open(pictures(tmp_path_factory.mktemp("wrong"), scale=1.5))


@pytest.fixture(scope="session")
def arm_bundle(tmp_path_factory) -> Bundle:
    return bundles.open(pictures(tmp_path_factory.mktemp("arm"), goal="raspberry-pi-4"), check=False)


def _without(bundle: Bundle, base: Path) -> Bundle:
    from dataclasses import replace

    with staging.folder(base / "out") as stage:
        for folder in ("model", "samples"):
            shutil.copytree(bundle.path / folder, stage / folder)
        shutil.copy(bundle.path / "report.json", stage)
        staging.seal(stage, replace(bundle.manifest, task=None, files=()))
    return bundles.open(base / "out")


@pytest.fixture
def run():
    """Run the command line in this process."""
    from click.testing import CliRunner

    from edgekit.cli import cli

    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return lambda *args: CliRunner(**apart).invoke(cli, [str(arg) for arg in args])
