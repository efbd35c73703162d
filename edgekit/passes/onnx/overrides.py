"""Settings of a recipe for all layers, for an operator type and for a node: the most specific one wins.

A pass that takes such settings has a Record with its own per-layer fields, each None where it is not set, and two
mappings to it: `operators`, by operator type, and `nodes`, by the node's name in the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar

from edgekit._record import Record
from edgekit.errors import UsageError, listed, nearest

L = TypeVar("L", bound=Record)
L_co = TypeVar("L_co", bound=Record, covariant=True)


class Overrides(Protocol[L_co]):
    """Settings that differ for an operator type or a node."""

    @property
    def operators(self) -> Mapping[str, L_co]: ...
    @property
    def nodes(self) -> Mapping[str, L_co]: ...


@dataclass(frozen=True)
class Floating(Record):
    """The only setting of a layer in passes that either change a layer or leave it as it is."""

    float: bool | None = None
    """Leave it in float: what would become int8 as it was, what would become f16 in f32."""


@dataclass(frozen=True)
class FloatOverrides(Record):
    """Which operator types and nodes are left in float; a node's setting comes before its type's."""

    operators: Mapping[str, Floating] = field(default_factory=dict)
    nodes: Mapping[str, Floating] = field(default_factory=dict)


def left_in_float(graph: Any, known: Collection[str], overrides: FloatOverrides | None, pass_name: str) -> list[str]:
    """Return the names of the nodes to leave in float, in graph order. Raises UsageError as `by_node` does."""
    settings = by_node(graph, known, Floating(False), overrides, pass_name)
    return [name for name, layer in settings.items() if layer.float]


def check_operators(overrides: Overrides[Any] | None, known: Collection[str], pass_name: str) -> None:
    """Raise UsageError for an operator type that the pass does not change."""
    for kind in overrides.operators if overrides else ():
        if kind not in known:
            raise UsageError(
                f"{pass_name}: [passes.operators.{kind}]: the pass does not change '{kind}'.{nearest(kind, known)}",
                hint=f"the pass changes {', '.join(sorted(known))}" if len(known) < 10 else "name an ONNX operator",
            )


def by_node(
    graph: Any, known: Collection[str], default: L, overrides: Overrides[L] | None, pass_name: str
) -> dict[str, L]:
    """Return the settings of every node of the `known` types, by name: `default` where nothing else is set.

    Raises UsageError for a node that is not in the graph, or that the pass does not change.
    """
    kinds = {node.name: node.op_type for node in graph.node}
    for name in overrides.nodes if overrides else ():
        if name not in kinds:
            raise UsageError(
                f"{pass_name}: the graph has no node '{name}'.{nearest(name, kinds)}",
                hint=f"its nodes: {listed(kinds)}",
            )
        if kinds[name] not in known:
            raise UsageError(
                f"{pass_name}: the node '{name}' is a {kinds[name]}, which the pass does not change.",
                hint=f"leave its table out: the pass changes {', '.join(sorted(known))}",
            )
    settings = {}
    for name, kind in kinds.items():
        if kind in known:
            settings[name] = default
            for override in (overrides.operators.get(kind), overrides.nodes.get(name)) if overrides else ():
                settings[name] = _merged(settings[name], override)
    return settings


def specificity(node: Any, overrides: Overrides[Any] | None) -> int:
    """Return how specific the settings of a node are: 2 its own, 1 its type's, 0 those for all nodes."""
    if overrides is None:
        return 0
    return 2 if node.name in overrides.nodes else 1 if node.op_type in overrides.operators else 0


def _merged(base: L, override: L | None) -> L:
    values = {item.name: getattr(override, item.name) for item in fields(override)} if override is not None else {}  # type: ignore[arg-type]
    return replace(base, **{name: value for name, value in values.items() if value is not None})  # type: ignore[type-var]
