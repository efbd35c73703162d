"""A recipe's passes in order: which work on the torch module, which on graphs, and whether each takes its input."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

from edgekit import registry
from edgekit._requirement import installed
from edgekit.errors import EnvironmentFault
from edgekit.plugin import Pass, Pruning, Trainable, WithInstall
from edgekit.recipe.recipe import PassConfig, Recipe


def formats(recipe: Recipe, start: str) -> tuple[str, tuple[str, ...]]:
    """Follow a model's format through the passes; say which pass does not take what it is given.

    A torch model is exported to ONNX after the passes on the torch module.
    """
    problems = []
    for step in recipe.passes:
        kind = registry.pass_type(step.name)
        if start == "torch" and not registry.is_torch_pass(step.name):
            start = "onnx"
        if registry.is_torch_pass(step.name) and start != "torch":
            problems.append(f"the pass '{step.name}' takes a torch model before its export, the model is '{start}'")
        elif start not in kind.accepts:
            problems.append(f"the pass '{step.name}' takes {' or '.join(sorted(kind.accepts))}, the model is '{start}'")
        configured(step, recipe)
        start = kind.gives
    return "onnx" if start == "torch" else start, tuple(problems)


def fits(recipe: Recipe, start: str, backend: str) -> bool:
    """Return whether a backend can take what a recipe makes: not where that is the own format of another.

    What is not installed fits, and is told of where the problems are.
    """
    try:
        gives, _ = formats(recipe, start)
        return gives in ("onnx", start) or gives in registry.backend(backend).accepts
    except EnvironmentFault:
        return True


def missing_packages(recipe: Recipe) -> tuple[EnvironmentFault, ...]:
    """Return which passes are not here, or need packages that are not, with the line that installs them as the hint."""
    faults = []
    for step in recipe.passes:
        try:
            kind = registry.pass_type(step.name)
        except EnvironmentFault as fault:
            faults.append(fault)
            continue
        absent = [name for name in kind.packages if not _is_here(name)]
        if absent:
            ours = registry.distribution("pass", step.name).split()[0] == "edgekit"
            line = "pip install 'edgekit[build]'" if ours else f"pip install {' '.join(absent)}"
            hint = kind.install if isinstance(kind, WithInstall) else line
            needs = f"the pass '{step.name}' needs {' and '.join(absent)}, which this machine lacks."
            faults.append(EnvironmentFault(needs, hint=hint))
    return tuple(faults)


def _is_here(distribution: str) -> bool:
    """Return whether a distribution is installed, or another one that brings its module."""
    try:
        if find_spec(distribution.replace("-", "_")) is not None:
            return True
    except (ImportError, ValueError):  # half uninstalled
        return False
    return installed(distribution) is not None


def configured(step: PassConfig, recipe: Recipe) -> Pass:
    """Return a recipe's pass with its config. Raises UsageError for one that it does not take."""
    return registry.configured(step, recipe.name)


def needs_samples(recipe: Recipe) -> bool:
    """Return whether a pass calibrates on data."""
    return any(configured(step, recipe).needs_samples for step in recipe.passes)


def needs_training(recipe: Recipe) -> bool:
    """Return whether a pass trains on the user's training data."""
    return any(trains(configured(step, recipe)) for step in recipe.passes)


def trains(instance: Pass) -> bool:
    """Return whether a pass trains on the user's training data."""
    return isinstance(instance, Trainable) and instance.trains


def before_export(recipe: Recipe) -> tuple[PassConfig, ...]:
    """Return the passes that a recipe begins with and that work on the torch module, before the export."""
    return tuple(itertools.takewhile(lambda step: registry.is_torch_pass(step.name), recipe.passes))


def changes_module(recipe: Recipe) -> bool:
    """Return whether a recipe changes the torch module, so that it computes something else than the original."""
    return any(registry.pass_type(step.name).gives == "torch" for step in before_export(recipe))


def after_export(recipe: Recipe) -> tuple[PassConfig, ...]:
    """Return the other passes of a recipe, which work on graphs."""
    return recipe.passes[len(before_export(recipe)) :]


def prunes(recipe: Recipe) -> bool:
    """Return whether a recipe takes parts of the model away."""
    return any(_prunes(step, recipe) for step in recipe.passes)


def without_pruning(recipe: Recipe) -> tuple[PassConfig, ...]:
    """Return what a recipe that prunes does to graphs beside that."""
    return tuple(step for step in after_export(recipe) if not _prunes(step, recipe))


def _prunes(step: PassConfig, recipe: Recipe) -> bool:
    instance = configured(step, recipe)
    return isinstance(instance, Pruning) and instance.prunes
