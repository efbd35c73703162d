"""The devices of a team, in a TOML file: name, address, target, and labels to select by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import _toml
from edgekit._record import Record
from edgekit.errors import UsageError, nearest

FILE = "fleet.toml"
"""The file that `edgekit devices` reads, in the working directory."""

EXAMPLE = '[[device]]\nname = "kitchen"\naddress = "ssh://pi@kitchen"\ntarget = "raspberry-pi-5"\nlabels = ["lab"]'


@dataclass(frozen=True)
class Device(Record):
    """A device of the fleet file."""

    name: str
    address: str
    target: str | None = None
    """What it should be; a deployment notes where the device differs."""
    labels: tuple[str, ...] = ()
    python: str | None = None
    """The Python to use there."""


def load(path: Path) -> tuple[Device, ...]:
    """Return the devices of a fleet file.

    Raises UsageError when it cannot be read, and for a name or an address that is listed twice.
    """
    data = _toml.read(path, "fleet file", hint=f"it looks like this:\n{EXAMPLE}")
    for key in data:
        if key != "device":
            raise UsageError(f"{path}: unknown key '{key}'.{nearest(key, ['device'])}", hint=EXAMPLE)
    tables = data.get("device", [])
    if not isinstance(tables, list) or not tables:
        raise UsageError(f"{path}: it lists no device.", hint=f"write one as\n{EXAMPLE}")
    devices = tuple(Device.from_dict(table, f"{path}: device {index}") for index, table in enumerate(tables, 1))
    for device in devices:
        if not re.fullmatch(r"[\w.-]+", device.name):
            raise UsageError(
                f"{path}: '{device.name}' is not a valid name.", hint="use letters, digits, dots and dashes"
            )
    for key in ("name", "address"):
        values = [getattr(device, key) for device in devices]
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise UsageError(f"{path}: the {key} '{twice}' is listed twice.", hint="list each device once")
    return devices


def select(devices: Sequence[Device], labels: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices with one of the labels, or with one of them as their name; without labels, all of them.

    Raises UsageError for a label that no device has.
    """
    for label in labels:
        known = {word for device in devices for word in (device.name, *device.labels)}
        if label not in known:
            raise UsageError(
                f"no device of the fleet has the label '{label}'.{nearest(label, known)}",
                hint=f"labels and names: {', '.join(sorted(known))}",
            )
    return tuple(device for device in devices if not labels or {device.name, *device.labels} & set(labels))
