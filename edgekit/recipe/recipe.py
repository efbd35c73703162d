"""A recipe: a named, ordered list of passes with their config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgekit._record import Record

OVERRIDES = "overrides"
"""The key of a pass's config that holds the settings for single operator types and nodes."""


@dataclass(frozen=True)
class PassConfig(Record):
    """A pass and the settings that differ from its defaults."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe(Record):
    """An ordered list of passes that are applied to the exported graph."""

    name: str
    summary: str
    passes: tuple[PassConfig, ...] = ()
    precision: str = "f32"
    """The precision that the passes produce; by it backends decide whether the target can run the recipe."""
    parts_in_float: tuple[str, ...] = ()
    """The parts of a model of several graphs that the passes leave as they were exported."""


PRUNED = "pruned"
"""The name of the recipe that only prunes, and the prefix of those that prune first: `pruned-int8-static`."""


def pruned(plain: Recipe) -> Recipe:
    """Return the recipe that prunes first and then applies the passes of `plain`."""
    name = PRUNED if plain.name == "fp32" else f"{PRUNED}-{plain.name}"
    summary = f"a part of the work pruned away and recovered from on --train, then {plain.name}"
    return replace(plain, name=name, summary=summary, passes=(PassConfig("prune"), *plain.passes))
