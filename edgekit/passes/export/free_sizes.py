"""Whether a traced graph is valid for other sizes than those that it was traced with.

The tracer writes what Python computed from a size as a constant: such a graph is right for the traced size and wrong or
not runnable for others, and only another size shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import _requirement
from edgekit.errors import BuildError, UnsupportedError
from edgekit.frameworks import onnx_model
from edgekit.model import Model

if TYPE_CHECKING:
    import numpy as np

LARGEST_PARAMETERS = 1_000_000_000
"""The check holds the weights a second time; larger models are compared on the user's data only."""

_TOLERANCE = 1e-3
"""Of the largest magnitude of an output: a constant that belongs to another size is off by far more than fp32."""


def check(model: Model, graph: Path, feeds: Mapping[str, np.ndarray], fixed: Mapping[str, int]) -> None:
    """Raise UnsupportedError, with the --shape that helps, for free sizes that the graph is not valid for.

    `feeds` are what the graph was traced with; sizes in `fixed` need not be free.
    """
    if model.original is None or (model.info.parameters or 0) > LARGEST_PARAMETERS:
        return
    _requirement.require("exporting a transformers model", "onnxruntime")
    import onnxruntime

    part = onnx_model.part_of(onnx_model.load(graph, weights=False))
    free = {
        str(dim): feeds[spec.name].shape[index]
        for spec in part.inputs
        for index, dim in enumerate(spec.shape)
        if isinstance(dim, str) and dim not in fixed
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a size that does not run is an answer here, not a message for the user
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    if not _is_repeatable(model, feeds):
        return
    if not _is_valid(model, session, part.inputs, feeds, {}):
        raise BuildError(
            f"the graph of '{model.info.architecture}' computes other values than the model, at the sizes that it is "
            "traced with.",
            hint="the exporter loses a part of the model: report it, with the config.json",
        )
    groups = _groups(free)
    bad = dict.fromkeys(
        name for group in groups if not _is_valid(model, session, part.inputs, feeds, group) for name in group
    )
    if bad:
        raise refusal(model, {name: free[name] for name in bad})


def symbols(config: Any, feeds: Mapping[str, np.ndarray], fixed: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes that a config calls free, by name, as they are in `feeds`."""
    return {
        size: feeds[name].shape[index]
        for name, sizes in config.inputs.items()
        for index, size in sizes.items()
        if name in feeds and size not in fixed and size != "num_channels"
    }


def refusal(model: Model, sizes: Mapping[str, int]) -> UnsupportedError:
    """Return the error that names the sizes that a graph is not valid for, with the --shape that helps."""
    steps = " ".join(f"--shape {name}={1 if 'batch' in name else size}" for name, size in sizes.items())
    return UnsupportedError(
        f"the graph of '{model.info.architecture}' is valid only for the sizes that it is traced with: "
        f"{', '.join(sizes)}.",
        hint=f"fix {'them' if len(sizes) > 1 else 'it'} to the size that your data has, such as {steps}",
    )


def _groups(symbols: Mapping[str, int]) -> list[dict[str, int]]:
    """Return sizes to try, by name: each alone but height and width, which a picture changes together."""
    picture = {name: size + 64 for name, size in symbols.items() if name in ("height", "width")}
    others = [
        {name: 2 * size if "audio" in name else size + 7 if "batch" not in name else size + 1}
        for name, size in symbols.items()
        if name not in picture
    ]
    # A sample alone is what most runs take: constants of a batch of two may hold for three.
    alone = [{name: 1} for name in symbols if "batch" in name]
    return [*alone, *others, *([picture] if picture else [])]


def _is_repeatable(model: Model, feeds: Mapping[str, np.ndarray]) -> bool:
    """Return whether the original gives equal outputs twice: one that draws random numbers cannot be compared here."""
    import numpy as np

    assert model.original is not None
    first, second = model.original.run(feeds), model.original.run(feeds)
    return all(np.array_equal(array, second[name], equal_nan=array.dtype.kind == "f") for name, array in first.items())


def _is_valid(
    model: Model, session: Any, inputs: Any, feeds: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> bool:
    """Return whether graph and original agree on other sizes; a size that the original does not take shows nothing."""
    import numpy as np

    changed = {spec.name: _resized(feeds[spec.name], spec.shape, sizes) for spec in inputs}
    assert model.original is not None
    try:
        expected = model.original.run(changed)
    except BuildError:
        return True
    names = [value.name for value in session.get_outputs()]
    try:
        actual = dict(zip(names, session.run(names, changed), strict=True))
    except Exception:  # onnxruntime's errors are of several classes
        return False
    for name, wanted in expected.items():
        value = actual.get(name)
        if value is None or value.shape != wanted.shape:
            return False
        if not wanted.size or wanted.dtype.kind not in "fiub":
            continue
        largest = max(float(np.abs(wanted).max()), 1e-3)
        if not np.allclose(value, wanted, rtol=0, atol=_TOLERANCE * largest, equal_nan=True):
            return False
    return True


def _resized(array: np.ndarray, shape: Any, sizes: Mapping[str, int]) -> np.ndarray:
    import numpy as np

    for index, dim in enumerate(shape):
        if dim in sizes:
            repeats = -(-sizes[dim] // array.shape[index])
            array = np.concatenate([array] * repeats, axis=index).take(range(sizes[dim]), axis=index)
    return array
