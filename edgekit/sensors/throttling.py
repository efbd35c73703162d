"""Whether the machine slowed itself down: what its firmware and kernel count, read before and after a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.result.measurement import Throttle
from edgekit.sensors import intel, raspberry, thermal
from edgekit.sensors.reading import Unreadable


@dataclass(frozen=True)
class Marks:
    """The counts at one moment; empty where nothing tells."""

    firmware: int | None = None
    """The bits of `vcgencmd get_throttled`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    held_back: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None
    """Why the firmware's bits could not be read."""

    @property
    def tells(self) -> bool:
        return self.firmware is not None or bool(self.counts) or bool(self.held_back)


def read(root: Path = Path("/")) -> Marks:
    """Read all that tells of throttling below `root`."""
    firmware = reason = None
    vcgencmd = raspberry.tool(root) if raspberry.is_here(root) else None
    if vcgencmd is not None:
        try:
            firmware = raspberry.throttled(vcgencmd)
        except Unreadable as error:
            reason = str(error)
    return Marks(firmware, intel.throttle_counts(root), thermal.held_back(root), reason)


def judge(before: Marks, after: Marks) -> Throttle:
    """Say from two readings whether the machine was throttled between them."""
    seen: list[str] = []
    unsure: list[str] = []
    if before.firmware is not None and after.firmware is not None:
        new = after.firmware & ~before.firmware
        seen += raspberry.words(after.firmware, raspberry.NOW)
        seen += raspberry.words(new, raspberry.SINCE_BOOT)
        if not seen and (old := raspberry.words(before.firmware, raspberry.SINCE_BOOT)):
            unsure.append(f"before the run, {' and '.join(old)}: the firmware would not tell it again until a reboot")
    elif reason := before.reason or after.reason:
        unsure.append(reason)
    grown = {name: count - before.counts.get(name, count) for name, count in after.counts.items()}
    if hottest := max(grown.values(), default=0):
        where = next(name for name, count in grown.items() if count == hottest)
        seen.append(f"the processor was throttled {hottest} times ({where})")
    seen += [f"the kernel holds {name} back (state {state})" for name, state in after.held_back.items() if state > 0]
    if seen:
        return Throttle("throttled", tuple(dict.fromkeys(seen)))
    if unsure or not (before.tells and after.tells):
        return Throttle("unknown", tuple(unsure) or ("nothing here tells of throttling",))
    return Throttle("not throttled")
