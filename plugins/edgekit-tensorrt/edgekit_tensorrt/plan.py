"""The build plan: all that a device needs, beside the graph, to build the engine. It is plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError, EdgekitError
from edgekit.plugin import Record

GRAPH = "model.onnx"
PLAN = "plan.json"
SCHEMA = 1


@dataclass(frozen=True)
class Profile(Record):
    """The range of one input's shape: the smallest, the one to optimize for, and the largest."""

    input: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class BuildPlan(Record):
    """How an engine is built from the graph beside it. The network is strongly typed: the graph has the types."""

    target: str
    precision: str
    """The precision that was requested, as `i8+f16`; the built engine reports what the layers really run in."""
    opset: int
    sm: str | None = None
    """The target's NVIDIA compute capability, as `8.7`; None when it is unknown."""
    profiles: tuple[Profile, ...] = ()
    """One profile for each input with a free size; none when all sizes are fixed."""
    sparse: bool = False
    """Whether sparse kernels may be chosen."""
    dla_core: int | None = None
    gpu_fallback: bool = True
    workspace_mb: int | None = None
    optimization_level: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """The plugin's options, resolved."""
    schema: int = SCHEMA

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> BuildPlan:
        """Read a plan. Raises ArtifactError for a file that is missing, damaged or of another schema."""
        try:
            data = json.loads(path.read_text())
            if data["schema"] != SCHEMA:
                raise ArtifactError(
                    f"the build plan '{path.name}' has schema {data['schema']}; this edgekit-tensorrt reads {SCHEMA}.",
                    hint="pip install --upgrade edgekit-tensorrt, or export the bundle again",
                )
            return cls.from_dict(data, path.name)
        except ArtifactError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EdgekitError) as error:
            raise ArtifactError(
                f"the build plan '{path.name}' cannot be read: {error}.", hint="copy or export the bundle again"
            ) from error
