"""Attribute a runtime's kernel times to the layers of a graph.

A layer's time is that of its own kernel and of all that runs on its account: what converts its inputs, what reorders,
and the operators behind it, up to the next layer. So the float and the int8 profile of one graph are comparable though
one of them fuses what the other runs on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.plugin import LayerMap, LayerTime


@dataclass(frozen=True)
class Attributed:
    """A profile by layer, in milliseconds."""

    layers: Mapping[str, float]
    """Only those that a kernel was found for."""
    conversions: Mapping[str, float]
    """Of that, what converting a layer's input takes, where a kernel does it."""
    elsewhere: float
    """What runs before every layer."""

    @property
    def total(self) -> float:
        return sum(self.layers.values()) + self.elsewhere


def attribute(layer_map: LayerMap, kernels: Sequence[LayerTime]) -> Attributed:
    """Return each kernel's time to the layer that it serves; `kernels` are in the order in which they ran.

    A kernel of several layers is shared out evenly. One whose name says nothing (a reorder) serves the layer of the
    kernel before it; at the very beginning, of the one behind it.
    """
    own = {name: layer.name for layer in layer_map.layers for name in (layer.name, *layer.folded)}
    homes: dict[str, str | None] = dict.fromkeys(layer_map.elsewhere)
    for layer in layer_map.layers:
        homes.update(dict.fromkeys((layer.name, *layer.names, *layer.pairs), layer.name))
    pairs = {name for layer in layer_map.layers for name in layer.pairs}
    times: dict[str, float] = {}
    conversions: dict[str, float] = {}
    elsewhere = waiting = 0.0
    last: tuple[str, ...] | None = None
    converts = False
    for kernel in kernels:
        served = _served(kernel, own, homes)
        if served is None:
            if last is None:
                waiting += kernel.time_ms
                continue
            served = last  # and what reorders a value that was just converted is a part of that
        else:
            names = {kernel.name, *kernel.covers}
            converts = not pairs.isdisjoint(names) and own.keys().isdisjoint(names)
        time_ms, waiting, last = kernel.time_ms + waiting, 0.0, served
        for name in served:
            times[name] = times.get(name, 0.0) + time_ms / len(served)
        if not served:
            elsewhere += time_ms
        elif converts:
            conversions[served[0]] = conversions.get(served[0], 0.0) + kernel.time_ms
    return Attributed(times, conversions, elsewhere + waiting)


def _served(kernel: LayerTime, own: Mapping[str, str], homes: Mapping[str, str | None]) -> tuple[str, ...] | None:
    """Return the layers that a kernel computes or serves; none for what stands before all, None when unknown."""
    names = (*kernel.covers, kernel.name)
    computed = tuple(dict.fromkeys(own[name] for name in names if name in own))
    if computed:
        return computed
    known = [homes[name] for name in names if name in homes]
    if not known:
        return None
    layer = next((home for home in known if home is not None), None)
    return () if layer is None else (layer,)


def fastest(profiles: Sequence[Sequence[LayerTime]]) -> tuple[LayerTime, ...]:
    """Return the least time of each kernel over several profiles of one model: what disturbs a run only adds to it."""
    least: dict[tuple[str, str], LayerTime] = {}
    for profile in profiles:
        for kernel in profile:
            key = kernel.name, kernel.kind
            if key not in least or kernel.time_ms < least[key].time_ms:
                least[key] = kernel
    return tuple(least.values())
