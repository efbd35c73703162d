"""The devices of a team, in a TOML file: name, address, what each should be, and labels to choose by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import _toml
from edgekit._record import Record
from edgekit.errors import UsageError, nearest

FILE = "fleet.toml"
"""Where `edgekit devices` looks, in the working directory."""

EXAMPLE = '[[device]]\nname = "kitchen"\naddress = "ssh://pi@kitchen"\ntarget = "raspberry-pi-5"\nlabels = ["lab"]'


@dataclass(frozen=True)
class Device(Record):
    """A device and how it is reached."""

    name: str
    address: str
    target: str | None = None
    """What it should be: a board that is not is told."""
    labels: tuple[str, ...] = ()
    python: str | None = None
    """The Python to use there."""


def load(path: Path) -> tuple[Device, ...]:
    """Read a fleet file. Raises UsageError for one that cannot be read, and for a name or an address given twice."""
    data = _toml.read(path, "fleet file", hint=f"it looks like this:\n{EXAMPLE}")
    for key in data:
        if key != "device":
            raise UsageError(f"{path}: unknown key '{key}'.{nearest(key, ['device'])}", hint=EXAMPLE)
    tables = data.get("device", [])
    if not isinstance(tables, list) or not tables:
        raise UsageError(f"{path}: it names no device.", hint=f"write one as\n{EXAMPLE}")
    devices = tuple(Device.from_dict(table, f"{path}: device {index}") for index, table in enumerate(tables, 1))
    for device in devices:
        if not re.fullmatch(r"[\w.-]+", device.name):
            raise UsageError(f"{path}: '{device.name}' is no name.", hint="use letters, digits, dots and dashes")
    for what in ("name", "address"):
        values = [getattr(device, what) for device in devices]
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise UsageError(f"{path}: the {what} '{twice}' is there twice.", hint="name each device once")
    return devices


def chosen(devices: Sequence[Device], labels: Sequence[str]) -> tuple[Device, ...]:
    """Give the devices that have one of the labels, or bear it as their name; all of them without labels.

    Raises UsageError for a label that no device has.
    """
    for label in labels:
        known = {word for device in devices for word in (device.name, *device.labels)}
        if label not in known:
            raise UsageError(
                f"no device of the fleet has the label '{label}'.{nearest(label, known)}",
                hint=f"labels and names: {', '.join(sorted(known))}",
            )
    return tuple(d for d in devices if not labels or {d.name, *d.labels} & set(labels))
