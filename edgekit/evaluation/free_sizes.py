"""Outputs whose size follows the data, as the boxes that a non-maximum suppression in the graph leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.model import Part

if TYPE_CHECKING:
    import numpy as np


def resizable(part: Part, feeds: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> set[str]:
    """Return the names of the outputs whose size neither the graph fixes nor the inputs' sizes decide.

    `feeds` and `outputs` are a call of the original: where it returns another size than the graph declares, the
    declaration does not describe what the data decides.
    """
    known: dict[str, int] = {}
    for spec in part.inputs:
        if spec.name in feeds:
            shape = feeds[spec.name].shape
            known |= {dim: size for dim, size in zip(spec.shape, shape, strict=False) if isinstance(dim, str)}
    names = set()
    for spec in part.outputs:
        shape = outputs[spec.name].shape if spec.name in outputs else ()
        if len(shape) == len(spec.shape):
            declared = [known.get(dim) if isinstance(dim, str) else dim for dim in spec.shape]
            if any(size != actual for size, actual in zip(declared, shape, strict=True)):
                names.add(spec.name)
    return names
