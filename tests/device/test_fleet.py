"""The fleet file: devices by name and label, and what is wrong in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.device import fleet
from edgekit.errors import UsageError

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


def test_devices_are_read_and_chosen_by_label_or_name(tmp_path):
    devices = fleet.load(written(tmp_path, TWO))
    assert [one.name for one in devices] == ["kitchen", "gate"]
    assert devices[0].target == "raspberry-pi-5"
    assert fleet.chosen(devices, ()) == devices
    assert fleet.chosen(devices, ("lab",)) == devices[:1]
    assert fleet.chosen(devices, ("gate", "arm")) == devices


def test_the_example_of_the_hints_is_a_fleet(tmp_path):
    assert fleet.load(written(tmp_path, fleet.EXAMPLE))[0].name == "kitchen"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[devices]]\nname = 'a'", "unknown key 'devices'. Did you mean 'device'?"),
        (TWO.replace("address", "adress", 1), "unknown key 'adress'. Did you mean 'address'"),
        (TWO.replace("gate", "kitchen"), "the name 'kitchen' is there twice"),
        (TWO.replace("ssh://gate", "ssh://pi@kitchen"), "the address 'ssh://pi@kitchen' is there twice"),
        (TWO.replace('"gate"', '"my gate"', 1), "'my gate' is no name"),
        ("", "it names no device"),
        ("[[device", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(text, words, tmp_path):
    with pytest.raises(UsageError) as caught:
        fleet.load(written(tmp_path, text))
    assert words in caught.value.message
    assert caught.value.hint


def test_a_missing_file_and_an_unknown_label(tmp_path):
    with pytest.raises(UsageError, match="cannot read the fleet file"):
        fleet.load(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"has the label 'labb'\. Did you mean 'lab'"):
        fleet.chosen(fleet.load(written(tmp_path, TWO)), ("labb",))
