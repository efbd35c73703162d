"""What every pass on ONNX files does around its own work: copy the assets, record one line of lineage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit import _requirement
from edgekit.frameworks.onnx_model import copy_assets
from edgekit.model import Model, Step


@dataclass(frozen=True)
class Rewrite:
    """One application of a pass: it is timed from the creation of this object to `finish`."""

    name: str
    config: Mapping[str, Any]
    packages: Sequence[str]
    started: float = field(default_factory=time.perf_counter)

    def finish(self, model: Model, workdir: Path, *, precision: str, notes: Sequence[str]) -> Model:
        """Copy the assets of `model` beside the new graphs in `workdir`; return the new model with its Step."""
        copy_assets(model, workdir)
        rewritten = replace(model, folder=workdir, precision=precision)
        seconds = round(time.perf_counter() - self.started, 3)
        tools = _requirement.versions(self.packages)
        step = Step(self.name, self.config, tools, model.digest, rewritten.digest, seconds, tuple(notes))
        return rewritten.with_step(step)
