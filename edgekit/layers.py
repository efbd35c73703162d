"""Facts about a graph's layers: which there are, what time each takes, and what quantizing it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._record import Record

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class LayerTime(Record):
    """An executed layer: its name in the graph, its kind, its precision and its time."""

    name: str
    kind: str
    precision: str
    time_ms: float
    covers: tuple[str, ...] = ()
    """Names of the operators and tensors of the built graph that this layer computes, as far as the runtime keeps them.
    """


@dataclass(frozen=True)
class LayerCost(Record):
    """A layer, and what quantizing it alone does to the model's outputs."""

    name: str
    """The node's name in the graph."""
    kind: str
    rel_l2: float
    """||output with this layer quantized - float output|| / ||float output|| on calibration samples, of the output that
    changes most; infinite where quantizing the layer makes values that are not finite."""

    @staticmethod
    def of(name: str, kind: str, changes: Sequence[float], references: Sequence[float]) -> LayerCost:
        """Return the cost by the sums of squares of each output: of its change, and of its float values."""
        relative = [
            math.sqrt(change / reference if reference else change)
            for change, reference in zip(changes, references, strict=True)
        ]
        finite = all(map(math.isfinite, relative))
        return LayerCost(name, kind, max(relative, default=0.0) if finite else math.inf)

    @staticmethod
    def change(before: np.ndarray, after: np.ndarray) -> float:
        """Return the sum of squares of the change of an output: of all that it was, where it has another size."""
        import numpy as np

        change = after - before if after.shape == before.shape else before
        return float(np.square(change, dtype=np.float64).sum())

    @staticmethod
    def ordered(costs: Iterable[LayerCost]) -> tuple[LayerCost, ...]:
        """Return the costs, the greatest first; one that is not a number is the greatest."""
        return tuple(
            sorted(costs, key=lambda cost: (-(math.inf if math.isnan(cost.rel_l2) else cost.rel_l2), cost.name))
        )


@dataclass(frozen=True)
class GraphLayer(Record):
    """A layer that a pass can leave in float, and the names under which a profile may list it."""

    name: str
    """The node's name, as the option `exclude` expects it."""
    kind: str
    names: tuple[str, ...]
    """Names of operators and tensors from this layer up to the next layers, in the graph before the pass and after it.
    """
    folded: tuple[str, ...] = ()
    """Those of `names` that are operators folded into this layer."""
    pairs: tuple[str, ...] = ()
    """Operators that convert the inputs of this layer."""
    after: tuple[str, ...] = ()
    """The layers whose results this layer reads, directly or through other operators."""
    reads: int | None = None
    """Elements of its activation input; None where sizes are free."""


@dataclass(frozen=True)
class LayerMap(Record):
    """A graph as its layers, in the order in which they run."""

    layers: tuple[GraphLayer, ...]
    elsewhere: tuple[str, ...] = ()
    """Operators and tensors that come before every layer."""
