"""Bundles to take to devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import artifact
from edgekit.artifact import Bundle
from tests.bundles import pictures, texts


@pytest.fixture(scope="session")
def picture_bundle(tmp_path_factory) -> Bundle:
    return artifact.open(pictures(tmp_path_factory.mktemp("pictures")))


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory) -> Bundle:
    return artifact.open(texts(tmp_path_factory.mktemp("texts")))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Give the home folder of the device `local:`, where edgekit's folder will be."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    return place
