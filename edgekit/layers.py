"""What is known of a graph's layers: which there are, what each takes, and what quantizing it costs."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record


@dataclass(frozen=True)
class LayerTime(Record):
    """One executed layer: its name in the graph, its kind, its precision and its time."""

    name: str
    kind: str
    precision: str
    time_ms: float
    covers: tuple[str, ...] = ()
    """Names of operators and tensors of the graph that was built which this layer computes, as far as the runtime keeps
    them."""


@dataclass(frozen=True)
class LayerCost(Record):
    """One layer, and what quantizing it alone does to the model's outputs."""

    name: str
    """The node's name in the graph."""
    kind: str
    rel_l2: float
    """||outputs with this layer quantized - float outputs|| / ||float outputs|| on calibration samples."""


@dataclass(frozen=True)
class GraphLayer(Record):
    """A layer that a pass can leave in float, and the names by which a profile may speak of it."""

    name: str
    """The node's name, as `exclude` takes it."""
    kind: str
    names: tuple[str, ...]
    """Operators and tensors from this layer on, before the pass and after it, up to the next layers."""
    folded: tuple[str, ...] = ()
    """Of these, operators that were folded into it."""
    pairs: tuple[str, ...] = ()
    """Operators that convert what it reads."""
    after: tuple[str, ...] = ()
    """The layers whose results it reads, directly or through other operators."""
    reads: int | None = None
    """Elements of its activation input; None where sizes are free."""


@dataclass(frozen=True)
class LayerMap(Record):
    """A graph as its layers, in the order in which they run."""

    layers: tuple[GraphLayer, ...]
    elsewhere: tuple[str, ...] = ()
    """Operators and tensors that stand before every layer."""
