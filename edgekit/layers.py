"""Facts about a graph's layers: which there are, what time each takes, and what quantizing it costs."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record


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
    """||outputs with this layer quantized - float outputs|| / ||float outputs|| on calibration samples."""


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
