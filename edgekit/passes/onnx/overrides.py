"""What a recipe says for all layers, for one operator type and for one node: the nearest word wins.

A pass that takes such settings has a Record with its own per-layer fields, each None where nothing is said, and two
mappings to it: `operators`, by operator type, and `nodes`, by the node's name in the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar

from edgekit._record import Record
from edgekit.errors import UsageError, nearest

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
    """The one setting of a layer in passes that either change a layer or leave it alone."""

    float: bool | None = None
    """Leave it in float: what would become int8 as it was, what would become f16 in f32."""


@dataclass(frozen=True)
class FloatOverrides(Record):
    """Which operator types and nodes are left in float; a node's word comes before its type's."""

    operators: Mapping[str, Floating] = field(default_factory=dict)
    nodes: Mapping[str, Floating] = field(default_factory=dict)


def left_in_float(graph: Any, known: Collection[str], overrides: FloatOverrides | None, where: str) -> list[str]:
    """Give the names of the nodes that are to be left in float, in graph order. Raises UsageError as `by_node`."""
    found = by_node(graph, known, Floating(False), overrides, where)
    return [name for name, layer in found.items() if layer.float]


def check_operators(overrides: Overrides[Any] | None, known: Collection[str], where: str) -> None:
    """Raise UsageError for an operator type that the pass does not change."""
    for kind in overrides.operators if overrides else ():
        if kind not in known:
            raise UsageError(
                f"{where}: [passes.operators.{kind}]: it changes no {kind}.{nearest(kind, known)}",
                hint=f"it changes {', '.join(sorted(known))}" if len(known) < 10 else "name an ONNX operator",
            )


def by_node(graph: Any, known: Collection[str], plain: L, overrides: Overrides[L] | None, where: str) -> dict[str, L]:
    """Give the settings of every node of the `known` types, by name: `plain` where nothing else is said.

    Raises UsageError for a node that is not in the graph, or that the pass does not change.
    """
    kinds = {node.name: node.op_type for node in graph.node}
    for name in overrides.nodes if overrides else ():
        if name not in kinds:
            raise UsageError(
                f"{where}: the graph has no node '{name}'.{nearest(name, kinds)}",
                hint="list the nodes with `edgekit inspect`",
            )
        if kinds[name] not in known:
            raise UsageError(
                f"{where}: the node '{name}' is a {kinds[name]}, which it does not change.",
                hint=f"leave its table out: it changes {', '.join(sorted(known))}",
            )
    found = {}
    for name, kind in kinds.items():
        if kind in known:
            found[name] = plain
            for said in (overrides.operators.get(kind), overrides.nodes.get(name)) if overrides else ():
                found[name] = _over(found[name], said)
    return found


def rank(node: Any, overrides: Overrides[Any] | None) -> int:
    """Say how near the words for a node are: 2 its own, 1 its type's, 0 those for all."""
    if overrides is None:
        return 0
    return 2 if node.name in overrides.nodes else 1 if node.op_type in overrides.operators else 0


def _over(base: L, said: L | None) -> L:
    values = {item.name: getattr(said, item.name) for item in fields(said)} if said is not None else {}  # type: ignore[arg-type]
    return replace(base, **{name: value for name, value in values.items() if value is not None})  # type: ignore[type-var]
