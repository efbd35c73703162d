"""The fleet file: devices by name and label, and the errors of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.device import fleet
from edgekit.errors import UsageError
from tests.wording import raises

TWO = """
[[device]]
name = "kitchen"
address = "ssh://pi@kitchen"
target = "raspberry-pi-5"
labels = ["lab", "arm"]

[[device]]
name = "gate"
address = "ssh://gate"
labels = ["field"]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "fleet.toml"
    file.write_text(text)
    return file


def test_devices_are_read_and_selected_by_label_or_name(tmp_path):
    devices = fleet.load(written(tmp_path, TWO))
    assert [device.name for device in devices] == ["kitchen", "gate"]
    assert devices[0].target == "raspberry-pi-5"
    assert fleet.select(devices, ()) == devices
    assert fleet.select(devices, ("lab",)) == devices[:1]
    assert fleet.select(devices, ("gate", "arm")) == devices


def test_the_example_of_the_hints_is_a_fleet(tmp_path):
    assert fleet.load(written(tmp_path, fleet.EXAMPLE))[0].name == "kitchen"


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("[[devices]]\nname = 'a'", ("'devices'", "'device'")),
        (TWO.replace("address", "adress", 1), ("'adress'", "'address'")),
        (TWO.replace("gate", "kitchen"), ["name", "'kitchen'"]),
        (TWO.replace("ssh://gate", "ssh://pi@kitchen"), ["address", "'ssh://pi@kitchen'"]),
        (TWO.replace('"gate"', '"my gate"', 1), "'my gate'"),
        ("", "device"),
        ("[[device", "TOML"),
    ],
)
def test_what_is_wrong_is_named(text, facts, tmp_path):
    with raises(UsageError, facts) as caught:
        fleet.load(written(tmp_path, text))
    assert caught.value.hint


def test_a_missing_file_and_an_unknown_label(tmp_path):
    with raises(UsageError, "none.toml'", hint="[[device]]"):
        fleet.load(tmp_path / "none.toml")
    with raises(UsageError, ("'labb'", "'lab'")):
        fleet.select(fleet.load(written(tmp_path, TWO)), ("labb",))
