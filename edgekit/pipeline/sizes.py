"""The sizes that the user fixes or frees, compared with those that the graph leaves free."""

from __future__ import annotations

from edgekit.errors import UsageError, nearest
from edgekit.model import Model
from edgekit.pipeline.plan import Plan


def known_sizes(plan: Plan, model: Model) -> Model:
    """Return the model. Raises UsageError for a size that the user names and neither the graph nor the target has, and
    for one that the graph fixes otherwise.
    """
    sizes = model.input_hints.free_sizes
    known = {*(sizes or ()), *plan.target.shapes}
    firsts = {spec.shape[0] for part in model.parts for spec in part.inputs if spec.shape}
    for name, size in plan.project.shapes.items():
        if sizes is None or name in sizes:
            continue
        if name not in known:
            raise UsageError(
                f"the model has no free size '{name}'.{nearest(name, known)}",
                hint=f"its free sizes: {', '.join(sizes) or 'none, every size is fixed'}",
            )
        if size == "dynamic" or (name == "batch" and firsts != {size}):
            fixed = f": it is fixed at {' and '.join(sorted(map(str, firsts)))}" if name == "batch" else ""
            raise UsageError(
                f"--shape {name}={size} cannot be applied, as the model has no free size '{name}'{fixed}.",
                hint="export the model again with that size free, or leave --shape out",
            )
    return model
