"""Ask a real compiler about a prepared graph, where one is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.plugin import Record
from edgekit.target import Target
from edgekit_tensorrt.plan import BuildPlan


@dataclass(frozen=True)
class Preflight(Record):
    """What a compiler on this machine said of a graph, without the device."""

    verdict: Literal["none", "rejected", "failed", "compiled"]
    """`none`: no compiler was asked. `rejected`: the parser refused it. `failed`: parsed, and the compile failed."""
    compiler: str | None = None
    """Name and version, as `tensorrt-rtx 1.7.1`."""
    sm: str | None = None
    """The compute capability that was compiled for; the target's own, or a sibling's."""
    problems: tuple[str, ...] = ()
    """Each failing node with what the compiler says of it."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """How many compiled layers run in each type."""
    seconds: float | None = None
    peak_memory_mb: float | None = None
    engine: str | None = None
    """The engine's file beside the graph, where it is for the target itself."""
    notes: tuple[str, ...] = ()


def check(model: Path, plan: BuildPlan, target: Target) -> Preflight:
    """Say what a compiler on this machine makes of the graph at `model`; without one the verdict is `none`."""
    return Preflight("none", notes=("no compiler here: the graph was checked by rules, not by TensorRT's parser",))
