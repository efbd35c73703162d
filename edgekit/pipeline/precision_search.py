"""Propose which layers to leave in float, from what each takes in float and in int8 and what a change between them
costs. A proposal is a guess: what it is worth is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edgekit.errors import EnvironmentFault
from edgekit.pipeline.layer_times import Attributed
from edgekit.plugin import GraphLayer, LayerMap

LEAST_GAIN = 0.02
"""A proposal that promises less than this share of the faster pure model is not worth building."""

LEAST_GAIN_MS = 0.01
"""And no less than this: runtimes count a kernel's time in whole microseconds."""

CONVERSION_WEIGHTS = (1.0, 0.0, 4.0)
"""How many times the measured cost of a conversion is counted: it differs from place to place, and the more it counts
the longer are the stretches of one precision."""

SHARE = 0.8
"""Of all that int8 loses (or gains), what the fewest layers must hold that are changed alone."""

PICOSECONDS = 1_000_000_000
"""In a millisecond: whole numbers, so that a minimum cut is exact."""


@dataclass(frozen=True)
class Times:
    """The layers with what they take, in milliseconds, and the conversion that each pays for reading the other
    precision.
    """

    layers: tuple[GraphLayer, ...]
    float_ms: Mapping[str, float]
    int8_ms: Mapping[str, float]
    conversions_ms: Mapping[str, float]
    rest_ms: float = 0.0
    """What runs before every layer."""

    @classmethod
    def of(cls, layer_map: LayerMap, in_float: Attributed, in_int8: Attributed) -> Times:
        """Compare two profiles. A layer that one of them does not show has no times: it goes with its neighbours."""
        both = in_float.layers.keys() & in_int8.layers.keys()
        return cls(
            layer_map.layers,
            {name: in_float.layers[name] for name in both},
            {name: in_int8.layers[name] for name in both},
            _conversions(layer_map.layers, in_int8.conversions),
            min(in_float.elsewhere, in_int8.elsewhere),
        )

    @property
    def pure_ms(self) -> float:
        """Return what the faster of the two pure models takes."""
        return self.rest_ms + min(sum(self.float_ms.values()), sum(self.int8_ms.values()))

    def predicted_ms(self, in_float: Collection[str]) -> float:
        """Return what the model should take with these layers in float."""
        known = self.float_ms.keys()
        layers = sum(self.float_ms[name] if name in in_float else self.int8_ms[name] for name in known)
        conversions = sum(
            self.conversions_ms.get(layer.name, 0.0)
            for layer in self.layers
            for before in layer.after
            if (layer.name in in_float) != (before in in_float)
        )
        return self.rest_ms + layers + conversions


def propose(times: Times) -> tuple[frozenset[str], ...]:
    """Return the sets of layers to try in float, the most promising first; none where none promises anything."""
    everything = frozenset(layer.name for layer in times.layers)
    if len(everything) < 2:
        return ()
    cheap = [cheapest(times, weight) for weight in CONVERSION_WEIGHTS]
    cheap.append(_few(times, everything))
    worth = times.pure_ms - max(LEAST_GAIN * times.pure_ms, LEAST_GAIN_MS)
    promising = [names for names in dict.fromkeys(cheap) if names and names != everything]
    return tuple(sorted((names for names in promising if times.predicted_ms(names) <= worth), key=times.predicted_ms))


def cheapest(times: Times, weight: float = 1.0) -> frozenset[str]:
    """Return the layers that are in float where the sum of all layers' times and of all conversions is least.

    Each layer has two costs and each edge one that is paid when its ends differ: the least sum is a minimum cut
    (Greig, Porteous and Seheult 1989). int8 is on the sink's side, which networkx makes as small as can be: what is as
    fast in both stays in float. Raises EnvironmentFault without networkx.
    """
    try:
        import networkx
    except ImportError as error:
        raise EnvironmentFault("mixed precision needs networkx.", hint="pip install 'edgekit[build]'") from error

    capacities: Counter[tuple[str, str]] = Counter()
    for layer in times.layers:
        if layer.name in times.float_ms:
            capacities["float", layer.name] += round(times.int8_ms[layer.name] * PICOSECONDS)
            capacities[layer.name, "int8"] += round(times.float_ms[layer.name] * PICOSECONDS)
        for before in layer.after:
            conversion = round(weight * times.conversions_ms.get(layer.name, 0.0) * PICOSECONDS)
            capacities[before, layer.name] += conversion
            capacities[layer.name, before] += conversion
    network = networkx.DiGraph()
    network.add_nodes_from(("float", "int8"))
    network.add_weighted_edges_from(((*edge, capacity) for edge, capacity in capacities.items()), weight="capacity")
    _, (_, quantized) = networkx.minimum_cut(network, "float", "int8")
    return frozenset(layer.name for layer in times.layers if layer.name not in quantized)


def _few(times: Times, everything: frozenset[str]) -> frozenset[str]:
    """Change only the fewest layers that hold most of the difference, starting from the pure model that is faster."""
    gains = {name: times.float_ms[name] - times.int8_ms[name] for name in times.float_ms}
    if sum(gains.values()) >= 0:
        return _holding({name: -gain for name, gain in gains.items()})
    return everything - _holding(gains)


def _holding(worth: Mapping[str, float]) -> frozenset[str]:
    ranked = sorted((name for name in worth if worth[name] > 0), key=lambda name: (-worth[name], name))
    total, held, chosen = sum(worth[name] for name in ranked), 0.0, []
    for name in ranked:
        if held >= SHARE * total:
            break
        chosen.append(name)
        held += worth[name]
    return frozenset(chosen)


def _conversions(layers: Sequence[GraphLayer], conversions: Mapping[str, float]) -> dict[str, float]:
    """Return what converting each layer's input costs: as measured, else by its size, and at least what any costs."""
    if not conversions:
        return {}
    sizes = {layer.name: layer.reads for layer in layers}
    sized = [name for name in conversions if sizes.get(name)]
    elements = sum(sizes[name] or 0 for name in sized)
    rate = sum(conversions[name] for name in sized) / elements if elements else 0.0
    least = min(conversions.values())
    return {name: conversions.get(name, max(least, rate * (size or 0))) for name, size in sizes.items()}
