"""Where a report's samples came from: they show whether the scores of two reports are of the same data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit._record import Record
from edgekit.data import Draw


@dataclass(frozen=True)
class DataSources(Record):
    """The data sets of an export or a verification; None for one that was not used."""

    evaluation: str | None = None
    """The data set as the user named it, or `synthetic`."""
    evaluation_samples: int | None = None
    evaluation_digest: str | None = None
    """SHA-256 of the samples' content."""
    evaluation_draw: Draw | None = None
    """How the samples were drawn from the data set."""
    calibration: str | None = None
    calibration_samples: int | None = None
    calibration_digest: str | None = None
    labelled: bool | None = None
    """Whether any evaluation sample has a label."""
    training: str | None = None
    training_samples: int | None = None
    stored: str | None = None
    """The data set whose samples travel in the bundle, `synthetic`, or `none`."""
    stored_samples: int | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
    """Keys that another version wrote; they are shown and written unchanged."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without those that are None."""
        data = {name: value for name, value in super().to_dict().items() if value is not None}
        other: dict[str, Any] = data.pop("other")
        return data | other

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> DataSources:
        """Return the record that plain values describe; unknown keys are kept in `other`."""
        if not isinstance(data, Mapping):
            return super().from_dict(data, where)  # which raises UsageError
        known = cls.__dataclass_fields__.keys() - {"other"}
        fields = {name: value for name, value in data.items() if name in known}
        other = {name: value for name, value in data.items() if name not in known}
        return super().from_dict({**fields, "other": other}, where)
