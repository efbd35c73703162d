"""What `edgekit doctor` found: values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit._record import Record


@dataclass(frozen=True)
class Finding(Record):
    """The result of one check; `broken` prevents an export or a run, `warning` does not."""

    name: str
    state: Literal["ok", "warning", "broken"]
    words: str
    hint: str | None = None


@dataclass(frozen=True)
class Checkup(Record):
    """All findings, and whether none of them is broken."""

    ok: bool
    findings: tuple[Finding, ...]
