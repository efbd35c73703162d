"""Whether the machine throttled: the counts of its firmware and kernel, read before and after a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.result.measurement import Throttle
from edgekit.sensors import intel, raspberry, thermal
from edgekit.sensors.reading import Unreadable


@dataclass(frozen=True)
class ThrottleCounts:
    """The counts at one moment; empty where the machine has none."""

    firmware: int | None = None
    """The bits of `vcgencmd get_throttled`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    cooling: Mapping[str, int] = field(default_factory=dict)
    """The states of the cooling devices that slow a processor."""
    reason: str | None = None
    """Why the firmware's bits could not be read."""

    @property
    def known(self) -> bool:
        """Return whether anything was counted."""
        return self.firmware is not None or bool(self.counts) or bool(self.cooling)


def read(root: Path = Path("/")) -> ThrottleCounts:
    """Return the counts of throttling below `root`."""
    firmware = reason = None
    vcgencmd = raspberry.tool(root) if raspberry.is_raspberry_pi(root) else None
    if vcgencmd is not None:
        try:
            firmware = raspberry.throttled(vcgencmd)
        except Unreadable as error:
            reason = str(error)
    return ThrottleCounts(firmware, intel.throttle_counts(root), thermal.cooling_states(root), reason)


def judge(before: ThrottleCounts, after: ThrottleCounts) -> Throttle:
    """Return whether the machine was throttled between two readings."""
    causes: list[str] = []
    unsure: list[str] = []
    if before.firmware is not None and after.firmware is not None:
        new = after.firmware & ~before.firmware
        causes += raspberry.meanings_of(after.firmware, raspberry.NOW)
        causes += raspberry.meanings_of(new, raspberry.SINCE_BOOT)
        if not causes and (old := raspberry.meanings_of(before.firmware, raspberry.SINCE_BOOT)):
            unsure.append(f"before the run, {' and '.join(old)}: the firmware does not report it again until a reboot")
    elif reason := before.reason or after.reason:
        unsure.append(reason)
    grown = {name: count - before.counts.get(name, count) for name, count in after.counts.items()}
    if hottest := max(grown.values(), default=0):
        where = next(name for name, count in grown.items() if count == hottest)
        causes.append(f"the processor was throttled {hottest} times ({where})")
    causes += [f"the kernel slows {name} (state {state})" for name, state in after.cooling.items() if state > 0]
    if causes:
        return Throttle("throttled", tuple(dict.fromkeys(causes)))
    if unsure or not (before.known and after.known):
        return Throttle("unknown", tuple(unsure) or ("nothing here reports throttling",))
    return Throttle("not throttled")
