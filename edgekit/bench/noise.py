"""Whether other programs used the processor during a measurement, by the kernel's counts.

`/proc/stat` counts how long each processor was busy and how much the hypervisor took, in hundredths of a second; the
part that our own processes did not use, others did. An unknown share is None, and noted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.result.measurement import Noise

FOREIGN_LIMIT = 0.05
"""Share of the processors that others may take. Kernels that charge by ticks sample: two seconds of two cores are 400
samples, whose error is 2.5 % (one standard deviation, at half load); a share below two of those cannot be distinguished
from none.
"""

STEAL_LIMIT = 0.02
"""Lower than the limit for other processes, because a hypervisor takes time from the running model, not from an idle
core.
"""

SPREAD_LIMIT = 0.20
"""(largest - smallest) / median of the rounds' medians: a choice, above the spread of a few rounds on a quiet machine.
"""

PREEMPTED_LIMIT_PER_S = 50.0
"""Used only where the kernel hides the processors' use. A busy neighbour takes a core every few milliseconds."""


@dataclass(frozen=True)
class Reading:
    """The counts at one moment, in seconds summed over the processors that this process may use."""

    total: float
    busy: float
    steal: float
    throttled: float | None
    """Seconds of waiting caused by the control group's quota; None without a quota."""


def read(root: Path = Path("/")) -> Reading | None:
    """Return the counts below `root`; None where the kernel hides them."""
    try:
        lines = (root / "proc/stat").read_text().splitlines()
    except OSError:
        return None
    allowed = _allowed()
    total = busy = steal = 0.0
    for line in lines:
        fields = line.split()
        if not fields or not fields[0].startswith("cpu") or not fields[0][3:].isdigit():
            continue
        if allowed is not None and int(fields[0][3:]) not in allowed:
            continue
        # user nice system idle iowait irq softirq steal (guest times are in user and nice already): proc_stat(5)
        times = [int(field) for field in fields[1:9]] + [0] * (9 - len(fields))
        user, nice, system, _, _, irq, softirq, stolen = times[:8]
        total += sum(times[:8])
        busy += user + nice + system + irq + softirq
        steal += stolen
    if not total:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return Reading(total / ticks, busy / ticks, steal / ticks, _throttled(root))


@dataclass
class Tally:
    """The sums over the timed regions of one model: its rounds, and nothing between them."""

    total: float = 0.0
    busy: float = 0.0
    steal: float = 0.0
    throttled: float = 0.0
    own: float = 0.0
    seconds: float = 0.0
    preempted: int = 0
    known: bool = True

    def add(self, before: Reading | None, after: Reading | None, *, own: float, seconds: float, preempted: int) -> None:
        """Add one round: the readings around it, and the processor seconds that our processes used between them."""
        self.own += own
        self.seconds += seconds
        self.preempted += preempted
        if before is None or after is None:
            self.known = False
            return
        self.total += after.total - before.total
        self.busy += after.busy - before.busy
        self.steal += after.steal - before.steal
        if before.throttled is not None and after.throttled is not None:
            self.throttled += after.throttled - before.throttled

    def verdict(self, medians: Sequence[float]) -> Noise:
        """Return the verdict with its reasons; `medians` are those of the rounds, in any unit."""
        spread = _spread(medians)
        rate = self.preempted / self.seconds if self.seconds else 0.0
        foreign = steal = None
        reasons: list[str] = []
        notes: list[str] = []
        if self.known and self.total > 0:
            foreign = max(0.0, self.busy - self.own) / self.total
            steal = max(0.0, self.steal) / self.total
            if foreign > FOREIGN_LIMIT:
                reasons.append(
                    f"other processes took {foreign:.0%} of the processors "
                    f"(the model was pre-empted {rate:.0f} times a second)"
                )
            if steal > STEAL_LIMIT:
                reasons.append(f"the hypervisor took {steal:.0%} of the processors for other machines")
        else:
            notes.append("how much other processes took is unknown: the kernel does not show it here")
            if rate > PREEMPTED_LIMIT_PER_S:
                reasons.append(f"the model was pre-empted {rate:.0f} times a second")
        if self.throttled > 0.01 * self.seconds:
            reasons.append(f"the control group's quota kept the model waiting for {self.throttled:.2f} s")
        if spread is not None and spread > SPREAD_LIMIT:
            reasons.append(f"the medians of {len(medians)} rounds differ by {spread:.0%}")
        return Noise(bool(reasons), tuple(reasons + notes), foreign, steal, spread)


def _spread(medians: Sequence[float]) -> float | None:
    """Return (largest - smallest) / median, None for fewer than two rounds."""
    if len(medians) < 2:
        return None
    ordered = sorted(medians)
    middle = ordered[len(ordered) // 2]
    return (ordered[-1] - ordered[0]) / middle if middle else None


def _allowed() -> set[int] | None:
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _throttled(root: Path) -> float | None:
    """Return the seconds of waiting for the quota of our control group (version 2), as in `cpu.stat`."""
    try:
        group = (root / "proc/self/cgroup").read_text().strip().rpartition("0::")[2].lstrip("/")
        for line in (root / "sys/fs/cgroup" / group / "cpu.stat").read_text().splitlines():
            if line.startswith("throttled_usec "):
                return int(line.split()[1]) / 1e6
    except OSError:
        return None
    return None
