"""What a search chooses among: backend, recipe, how ranges are found and on how many samples, the share of layers left
in float, and the share of the work pruned away. Only what applies to the model, the data and the target is in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args, get_type_hints

from edgekit import catalog, registry
from edgekit.errors import UsageError
from edgekit.pipeline import recipe_passes
from edgekit.pipeline.plan import Plan, PlannedCandidate
from edgekit.pipeline.planning import planned
from edgekit.pipeline.repair import excluding, repairable
from edgekit.recipe.recipe import PassConfig, Recipe

Pick = Callable[[str, Sequence[Any]], Any]
"""Choose one of several values for a name; the values of a name are always the same."""

STATIC = "quantize-static"
PRUNE = "prune"

SAMPLES = (32, 100, 300)
"""Calibration samples: ranges that have settled early are wider with more, and seldom better."""

IN_FLOAT = (0.0, 0.05, 0.1, 0.25, 0.5)
"""Shares of the layers that stay in float, those first that cost most."""

PRUNED = (0.0, 0.2, 0.35, 0.5)
"""Shares of the multiply-adds to remove."""


@dataclass(frozen=True)
class Space:
    """The values of each choice; what one choice makes meaningless is not asked for."""

    recipes: Mapping[str, tuple[str, ...]]
    """By backend, in the order of the target."""
    methods: tuple[str, ...]
    samples: tuple[int, ...]
    in_float: tuple[float, ...]
    pruned: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that tells two spaces apart."""
        return {name: dict(value) if name == "recipes" else list(value) for name, value in vars(self).items()}

    @property
    def passes(self) -> tuple[str, ...]:
        """Return the names of the passes that may run, sorted."""
        names = {name for names in self.recipes.values() for name in names}
        return tuple(sorted({step.name for name in names for step in catalog.recipe(name).passes} | {"export", PRUNE}))

    def draw(self, pick: Pick) -> dict[str, Any]:
        """Choose a point: a value by name for every choice that matters to it."""
        backend = pick("backend", tuple(self.recipes))
        # The values of one name must not depend on another choice.
        name = pick(f"recipe of {backend}", self.recipes[backend])
        point = {"backend": backend, "recipe": name}
        if any(step.name == STATIC for step in catalog.recipe(name).passes):
            point |= {"method": pick("method", self.methods), "samples": pick("samples", self.samples)}
        if repairable(PlannedCandidate(backend, catalog.recipe(name))):
            point["in_float"] = pick("in_float", self.in_float)
        if len(self.pruned) > 1:
            point["pruned"] = pick("pruned", self.pruned)
        return point

    def points(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield every point, each behind the choices that lead to it."""
        yield from self._walk({})

    def _walk(self, chosen: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        open_: list[tuple[str, Sequence[Any]]] = []

        def pick(name: str, values: Sequence[Any]) -> Any:
            if name not in chosen:
                open_.append((name, values))
            return chosen.get(name, values[0])

        point = self.draw(pick)
        if not open_:
            yield dict(chosen), point
            return
        name, values = open_[0]
        for value in values:
            yield from self._walk({**chosen, name: value})


def space(plan: Plan, calibration: int) -> Space:
    """Return what a search of this plan chooses among, where there are so many calibration samples.

    Raises UsageError where nothing is left to choose.
    """
    backends = dict.fromkeys(candidate.backend for candidate in plan.possible)
    recipes = {backend: _recipes(plan, backend) for backend in backends}
    recipes = {backend: names for backend, names in recipes.items() if names}
    if not recipes:
        raise UsageError(
            "there is nothing to search: no recipe that changes the model applies here.",
            hint="give samples with --data, or leave --search out",
        )
    return Space(
        recipes=recipes,
        methods=_methods(),
        samples=tuple(dict.fromkeys(min(count, calibration) for count in SAMPLES)) if calibration else SAMPLES[-1:],
        in_float=IN_FLOAT,
        pruned=PRUNED if _prunable(plan, next(iter(recipes))) else PRUNED[:1],
    )


def candidate(
    plan: Plan, point: Mapping[str, Any], name: str, worst: Callable[[PlannedCandidate], Sequence[str]]
) -> PlannedCandidate:
    """Return the candidate of a point under its own name; `worst` returns a candidate's layers, those that cost most
    first.
    """
    base = catalog.recipe(point["recipe"])
    pruned = (PassConfig(PRUNE, {"ratio": point["pruned"]}),) if point.get("pruned") else ()
    plain = planned(plan, point["backend"], replace(base, passes=(*pruned, *base.passes)))
    settings = {key: point[key] for key in ("method", "samples") if key in point}
    passes = tuple(
        PassConfig(step.name, {**step.config, **settings}) if step.name == STATIC else step
        for step in plain.recipe.passes
    )
    changed = replace(plain, recipe=replace(plain.recipe, passes=passes))
    step = repairable(changed)
    if step is not None and point.get("in_float"):
        # Which layers cost most hardly depends on how ranges are chosen: they are ranked once for all settings.
        layers = worst(plain)
        changed = excluding(
            changed, step, layers[: min(len(layers) - 1, math.ceil(point["in_float"] * len(layers)))], ""
        )
    named = replace(changed.recipe, name=f"{base.name}-{name}", summary=f"found by search: {words(point)}")
    return replace(changed, recipe=named)


def words(point: Mapping[str, Any]) -> str:
    """Return what was chosen, in words."""
    parts = [str(point["recipe"])]
    parts += [f"ranges by {point['method']} on {point['samples']} samples"] if "method" in point else []
    parts += [f"{point['in_float']:.0%} of the layers in float"] if point.get("in_float") else []
    parts += [f"{point['pruned']:.0%} of the work pruned"] if point.get("pruned") else []
    return ", ".join(parts)


def _recipes(plan: Plan, backend: str) -> tuple[str, ...]:
    """Return the built-in recipes that change the model and apply, without those that the other choices bring forth.

    Nor those that train: a trial is a matter of seconds.
    """
    names = []
    for name, built_in in catalog.recipes(backend).items():
        brought = recipe_passes.before_export(built_in) or any("method" in step.config for step in built_in.passes)
        if built_in.passes and not brought and not planned(plan, backend, built_in).problems:
            names.append(name)
    return tuple(names)


def _methods() -> tuple[str, ...]:
    hint = get_type_hints(registry.pass_type(STATIC))["method"]
    return tuple(get_args(hint))


def _prunable(plan: Plan, backend: str) -> bool:
    """Return whether the pass is installed, the model is a torch module, and there is training data to recover on."""
    if PRUNE not in registry.names("pass") or not plan.project.train:
        return False
    return not planned(plan, backend, Recipe("pruned", "", (PassConfig(PRUNE, {"ratio": PRUNED[1]}),))).problems
