"""From a project to a plan: target, source, recipes and backends resolved, and the whole chain checked.

Nothing heavy is imported here: planning takes a moment, and says before any work what cannot be done.
"""

from __future__ import annotations

from dataclasses import replace

from edgekit import catalog, data, registry
from edgekit.errors import EnvironmentFault, UsageError
from edgekit.evaluation import data_check, unused_options
from edgekit.model import Reference
from edgekit.pipeline import baselines, pass_defaults, recipe_passes
from edgekit.pipeline.feasibility import has_data, problems, refuse
from edgekit.pipeline.plan import Plan, PlannedCandidate
from edgekit.pipeline.source import LIVE, reference, source_for
from edgekit.project import Project
from edgekit.recipe.builtin import GENERATING
from edgekit.recipe.recipe import PRUNED, PassConfig, Recipe, pruned
from edgekit.target import host
from edgekit.target.target import Target

TEXT_LENGTH = 128
"""Tokens that a text graph gets where the target wants fixed shapes and the user names no length."""


def plan(project: Project, *, live: bool = False) -> Plan:
    """Resolve target, source, recipes and backends, and check what can be checked before any work.

    `live` says that the model is an object in memory. Raises UsageError, EnvironmentFault or, when no candidate is
    left, UnsupportedError with every reason.
    """
    for ref in filter(None, (project.data, project.calibration, project.train)):
        data.check(ref)
    if not has_data(project):
        unused_options.refuse_without_data(project)
    target = catalog.target(project.target)
    source = None if live else source_for(reference(project))
    start = "torch" if source is None else source.gives
    _check_training(project, start)
    candidates = _candidates(project, target, start)
    mismatches = target.mismatches(host.probe())
    plan = Plan(project, target, source.scheme if source else LIVE, candidates, _shapes(project, target), mismatches)
    if not plan.possible:
        refuse(plan)
    data_check.check_data(project, source, reference(project) if source else Reference(LIVE))
    if project.search and mismatches and project.objective != "size":
        raise UsageError(
            f"a search needs measurements, and this machine is not '{target.name}': {'; '.join(mismatches)}.",
            hint="search on the device, or for --objective size",
        )
    return plan


def _shapes(project: Project, target: Target) -> dict[str, int]:
    """Return the free sizes that are fixed, the user's before the target's."""
    shapes = {name: size for name, size in {**target.shapes, **project.shapes}.items() if isinstance(size, int)}
    shapes = {name: size for name, size in shapes.items() if project.shapes.get(name) != "dynamic"}
    if project.objective == "throughput" and "batch" not in project.shapes and not target.static_shapes_only:
        shapes.pop("batch", None)  # the target's batch of one is for the least latency; batches need it free
    if target.static_shapes_only:
        shapes.setdefault("sequence", TEXT_LENGTH)
    return shapes


def _check_training(project: Project, start: str) -> None:
    """Raise UsageError where training is asked for that cannot be."""
    asked = [] if project.prune is None else [f"prune = {project.prune:g}"]
    asked += ["--qat"] if project.qat else []
    if asked and not project.train:
        raise UsageError(
            f"{asked[0]} needs training data, and none is given.",
            hint="give samples that the model may learn from with --train DIR",
        )
    if asked and start != "torch":
        raise UsageError(
            f"{asked[0]} trains the torch model, and '{project.model}' is exported already ({start}).",
            hint="give the checkpoint or the module that it was exported from",
        )


def planned(plan: Plan, backend: str, unresolved: Recipe) -> PlannedCandidate:
    """Return a candidate that the plan did not name, resolved, with what is in its way."""
    resolved = pass_defaults.resolve(unresolved, plan.target, backend)
    start = "torch" if plan.source == LIVE else source_for(reference(plan.project)).gives
    unasked = replace(plan.project, recipe=None, candidates=())  # a loss that nobody asked for needs data to be seen
    return PlannedCandidate(backend, resolved, problems(backend, resolved, plan.target, unasked, start))


def for_generation(plan: Plan) -> Plan:
    """Return the plan of a model that generates, with packed weights on each backend, where the user names no recipes
    of their own.
    """
    if plan.project.candidates or plan.project.recipe:
        return plan
    names = {candidate.name for candidate in plan.candidates}
    backends = dict.fromkeys(candidate.backend for candidate in plan.candidates if not candidate.baseline)
    packed = [planned(plan, backend, _recipe(recipe)) for backend in backends for recipe in GENERATING]
    added = tuple(candidate for candidate in packed if not candidate.problems and candidate.name not in names)
    return replace(plan, candidates=(*plan.candidates, *added))


def _candidates(project: Project, target: Target, start: str) -> tuple[PlannedCandidate, ...]:
    if project.candidates:
        pairs = [_pair(text) for text in project.candidates]
    else:
        backends = project.backends or target.backends
        names = (project.recipe,) if project.recipe else None
        usual = {b: target.candidates.get(b) or catalog.default_recipes(b) for b in backends}
        pairs = [(b, r) for b in backends for r in names or _named(project, usual[b])]
        if not project.backends:  # a recipe of one backend is not tried for others that nobody named
            pairs = [pair for pair in pairs if recipe_passes.fits(_recipe(pair[1]), start, pair[0])] or pairs
    planned = []
    for backend, name in dict.fromkeys(pairs):
        recipe = pass_defaults.resolve(_recipe(name), target, backend, prune=project.prune)
        planned.append(PlannedCandidate(backend, recipe, problems(backend, recipe, target, project, start)))
    all_of_them = [(c.backend, c.recipe) for c in planned]
    possible = [(c.backend, c.recipe) for c in planned if not c.problems]
    measured = project.bench and not target.mismatches(host.probe())
    compared = baselines.baselines(all_of_them, possible, target) if measured else []
    fallbacks = baselines.fallbacks(possible, target) if project.qat else []
    return (
        *planned,
        *(PlannedCandidate(b, r, problems(b, r, target, project, start), baseline=True) for b, r in compared),
        *(PlannedCandidate(b, r, problems(b, r, target, project, start), fallback=True) for b, r in fallbacks),
    )


def _named(project: Project, usual: tuple[str, ...]) -> tuple[str, ...]:
    """Add the pruned form of each recipe where the user asks for pruning."""
    if project.prune is None:
        return usual
    return (*usual, *(pruned(_recipe(name)).name for name in usual if not name.startswith(PRUNED)))


def _recipe(name: str) -> Recipe:
    """Return a recipe by its name; in place of one whose plugin is missing, one whose only pass is missing: that
    candidate has a problem, and the others are tried.
    """
    try:
        return catalog.recipe(name)
    except EnvironmentFault:
        if name not in registry.KNOWN_RECIPES:
            raise
        return Recipe(name, "", (PassConfig(name),))


def _pair(text: str) -> tuple[str, str]:
    backend, slash, name = text.partition("/")
    if not slash or not name:
        raise UsageError(
            f"'{text}' is not a valid candidate.",
            hint="write it as backend/recipe, for example onnxruntime/int8-static",
        )
    return backend, name
