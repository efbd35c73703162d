"""What is in the way of a candidate, before any work: a backend or package that is missing, a recipe that does not fit
the model, data that is not given.
"""

from __future__ import annotations

from typing import NoReturn

from edgekit import embedded, registry
from edgekit.errors import EnvironmentFault, UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.pipeline import recipe_passes
from edgekit.pipeline.plan import Plan
from edgekit.project import Project
from edgekit.recipe.recipe import Recipe
from edgekit.target.target import Target


def problems(name: str, recipe: Recipe, target: Target, project: Project, start: str) -> tuple[str, ...]:
    """Return all that is in the way of building `recipe` with the backend `name`; `start` is the model's format."""
    absent = absence(name)
    if absent:
        return (absent,)
    backend = registry.backend(name)
    backend.options.from_dict(target.options.get(name, {}), f"target '{target.name}', options of {name}")
    try:
        gives, reasons = recipe_passes.formats(recipe, start)
    except EnvironmentFault as fault:  # a pass of a plugin that is missing or broken: the other recipes can be tried
        return (_in_words(fault),)
    reasons += (*map(_in_words, recipe_passes.missing_packages(recipe)), *_training_problems(recipe, project))
    reasons += backend.supports(Model(format=gives, precision=recipe.precision), target).problems
    if not has_data(project):
        asked = project.recipe or project.candidates
        if recipe_passes.needs_samples(recipe):
            reasons += ("it calibrates on data, and none is given",)
        elif recipe.passes and not asked:
            reasons += ("it can lose accuracy, and no data is given to find out",)
    return reasons


def absence(name: str) -> str | None:
    """Return why a backend cannot be used on this machine, with the line that mends it; None when it can."""
    try:
        probe = registry.backend(name).probe()
    except EnvironmentFault as fault:
        return _in_words(fault)
    if probe.available:
        return None
    return f"{'; '.join(probe.problems) or 'it is not available'} ({probe.hint})"


def _in_words(fault: EnvironmentFault) -> str:
    return f"{fault.message} ({fault.hint})"


def _training_problems(recipe: Recipe, project: Project) -> tuple[str, ...]:
    if not recipe_passes.needs_training(recipe):
        return ()
    missing = [] if project.train else ["it trains, and no training data is given (--train)"]
    if not has_data(project):
        missing.append("it trains, and no data is given to judge the result on (--data)")
    return tuple(missing)


def has_data(project: Project) -> bool:
    """Return whether the project names samples, or its model brings some."""
    return bool(project.data or project.calibration or embedded.data_folder(project.model))


def refuse(plan: Plan) -> NoReturn:
    """Raise the error of a plan none of whose candidates is possible, with what would mend it."""
    if not plan.candidates:
        raise UsageError(
            f"the target '{plan.target.name}' names no backend, and none is given: there is nothing to build with.",
            hint='write backends = ["onnxruntime"] into its file, or give --backend',
        )
    reasons = [f"{c.name}: {'; '.join(c.problems)}" for c in plan.candidates]
    if all("none is given" in reason for reason in reasons):
        raise UsageError(
            f"the recipe '{plan.candidates[0].recipe.name}' calibrates on data, and none is given.",
            hint="give samples with --data DIR, or a recipe that needs none: --recipe int8-dynamic, fp16, bf16 or fp32",
        )
    if all("no training data is given" in reason for reason in reasons):
        raise UsageError(
            f"the recipe '{plan.candidates[0].recipe.name}' trains, and no training data is given.",
            hint="give samples that the model may learn from with --train DIR, beside --data to judge the result",
        )
    lost = [recipe_passes.missing_packages(c.recipe) for c in plan.candidates]
    if all(lost):
        hints = {fault.message: fault.hint for faults in lost for fault in faults}
        raise EnvironmentFault(" And ".join(hints), hint=" && ".join(dict.fromkeys(filter(None, hints.values()))))
    installed = registry.names("backend")
    without = [c for c in plan.candidates if c.backend not in installed]
    if all(faults or c in without for c, faults in zip(plan.candidates, lost, strict=True)):
        names = sorted({c.backend for c in without})
        raise EnvironmentFault(
            f"the target '{plan.target.name}' needs the backend {' or '.join(names)}, which is not installed.",
            hint=f"pip install {' '.join(registry.KNOWN_PLUGINS.get(name, name) for name in names)}",
        )
    raise UnsupportedError(f"nothing can be built for '{plan.target.name}'.", problems=reasons)
