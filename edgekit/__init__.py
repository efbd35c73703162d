"""edgekit: export a pretrained model to the fastest artifact a device can run within an accuracy budget, with proof.

```python
result = edgekit.export("./my-checkpoint", target="host", data="./val", max_drop=0.01)
print(result.report.shipped.name, result.bundle.path)

with edgekit.open(result.bundle.path).session() as session:
    outputs = session.run(feeds)
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._version import __version__

if TYPE_CHECKING:
    from edgekit.api import benchmark, export, plan, verify
    from edgekit.bundle.bundle import Bundle, open
    from edgekit.errors import (
        AccuracyFailure,
        ArtifactError,
        BuildError,
        DeviceError,
        EdgekitError,
        EnvironmentFault,
        PerformanceFailure,
        UnsupportedError,
        UsageError,
    )
    from edgekit.graphs import Graph, Graphs, Loop
    from edgekit.pipeline.run import Result
    from edgekit.project import Project
    from edgekit.result.report import Report

_HOMES = {
    "export": "api",
    "plan": "api",
    "verify": "api",
    "benchmark": "api",
    "open": "bundle.bundle",
    "Bundle": "bundle.bundle",
    "Graph": "graphs",
    "Graphs": "graphs",
    "Loop": "graphs",
    "Result": "pipeline.run",
    "Project": "project",
    "Report": "result.report",
    "EdgekitError": "errors",
    "UsageError": "errors",
    "EnvironmentFault": "errors",
    "UnsupportedError": "errors",
    "AccuracyFailure": "errors",
    "PerformanceFailure": "errors",
    "DeviceError": "errors",
    "ArtifactError": "errors",
    "BuildError": "errors",
}

__all__ = [
    "AccuracyFailure",
    "ArtifactError",
    "BuildError",
    "Bundle",
    "DeviceError",
    "EdgekitError",
    "EnvironmentFault",
    "Graph",
    "Graphs",
    "Loop",
    "PerformanceFailure",
    "Project",
    "Report",
    "Result",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "benchmark",
    "export",
    "open",
    "plan",
    "verify",
]


def __getattr__(name: str) -> Any:
    # `import edgekit` does no work: the module of a public name is imported when the name is first used.
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"edgekit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
