"""The verbs as Python functions, with typed results: what the command line does, a build pipeline can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.bundle import verify as verification
from edgekit.data import DataRef
from edgekit.errors import UsageError
from edgekit.graphs import Graphs
from edgekit.pipeline import planning, run
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.run import Result
from edgekit.progress import Progress
from edgekit.project import Project
from edgekit.result.report import Report


def export(
    model: Any = None,
    *,
    target: str = "host",
    data: str | Path | None = None,
    output: str | Path | None = None,
    max_drop: float | str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Export a model to the fastest artifact that keeps its quality, as a bundle in `output`.

    `model` is a reference (a folder, `hf:org/name`, a .onnx file, `package.module:factory`), a live `torch.nn.Module`,
    alone or as (module, example_inputs), or `edgekit.Graphs`; `options` are the other keys of `edgekit.toml`.
    Raises the errors of `edgekit.errors`; AccuracyFailure and PerformanceFailure come after the report was written.
    """
    project, module = _project(
        model, {"target": target, "data": data, "output": output, "max_drop": max_drop, **options}
    )
    return run.run(project, force=force, progress=progress, module=module)


def plan(model: Any = None, *, target: str = "host", data: str | Path | None = None, **options: Any) -> Plan:
    """Return what `export` would do, without doing it."""
    project, module = _project(model, {"target": target, "data": data, **options})
    return planning.plan(project, live=module is not None)


def verify(
    bundle: str | Path, *, data: str | Path | None = None, max_drop: float | str | None = None, **options: Any
) -> Report:
    """Compare a bundle's outputs with those of its stored samples, and with the labels of `data`; see `report.ok`."""
    columns = {key: options.pop(key) for key in ("split", "text_columns", "label_column") if key in options}
    ref = None if data is None else DataRef(str(data), **columns)
    return verification.verify(bundle, data=ref, max_drop=max_drop, **options)


def benchmark(bundles: str | Path | Sequence[str | Path], **options: Any) -> Report:
    """Measure one bundle, or several interleaved, and return the report."""
    paths = [bundles] if isinstance(bundles, (str, Path)) else list(bundles)
    return verification.benchmark(paths, **options)


def _project(model: Any, options: dict[str, Any]) -> tuple[Project, Any]:
    """Return the project, and the module where `model` is one rather than a reference."""
    plain = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items() if value is not None
    }
    if model is None or isinstance(model, (str, Path)):
        named = {"model": str(model)} if model is not None else {}
        return Project.from_dict({**named, **plain}, "edgekit.export"), None
    module = model[0] if isinstance(model, tuple) and len(model) == 2 else model
    # Duck-typed: the light core does not import torch to ask.
    if not (isinstance(module, Graphs) or (hasattr(module, "state_dict") and callable(module))):
        raise UsageError(
            f"'{type(model).__name__}' is not a model.",
            hint="give a path, a reference, a torch.nn.Module, (module, example_inputs), or edgekit.Graphs",
        )
    return Project.from_dict({"model": type(module).__name__, **plain}, "edgekit.export"), model
