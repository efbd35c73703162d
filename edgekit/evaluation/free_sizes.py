"""Outputs whose size follows the data, as the boxes that a non-maximum suppression in the graph leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgekit.model import Part

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of inputs or outputs, by name."""


@dataclass(frozen=True)
class FreeSizes:
    """What the original's calls show of the sizes of its outputs."""

    resizable: frozenset[str] = frozenset()
    """Outputs that may have another size than the original's: neither the graph fixes it, nor the inputs' sizes."""
    varying: frozenset[str] = frozenset()
    """Those among them that had different sizes for inputs of one size."""


FIXED = FreeSizes()
"""No output has a size that follows the data."""


def free_sizes(part: Part, calls: Iterable[tuple[Shapes, Shapes]]) -> FreeSizes:
    """Return the outputs whose size follows the data, by the shapes of the original's inputs and outputs."""
    resizable: set[str] = set()
    varying: set[str] = set()
    seen: dict[tuple[str, object], tuple[int, ...]] = {}
    for inputs, outputs in calls:
        resizable |= _beyond_declaration(part, inputs, outputs)
        sizes = tuple(inputs.items())
        varying |= {name for name, shape in outputs.items() if seen.setdefault((name, sizes), shape) != shape}
    return FreeSizes(frozenset(resizable | varying), frozenset(varying))


def _beyond_declaration(part: Part, inputs: Shapes, outputs: Shapes) -> set[str]:
    """Return the outputs with a size that the graph does not declare: a free one that no input has, or another one."""
    known: dict[str, int] = {}
    for spec in part.inputs:
        sizes = zip(spec.shape, inputs.get(spec.name, ()), strict=False)
        known |= {dim: size for dim, size in sizes if isinstance(dim, str)}
    names = set()
    for spec in part.outputs:
        shape = outputs.get(spec.name, ())
        declared = tuple(known.get(dim) if isinstance(dim, str) else dim for dim in spec.shape)
        if len(shape) == len(declared) and shape != declared:
            names.add(spec.name)
    return names
