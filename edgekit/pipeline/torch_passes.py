"""Apply the passes that a recipe begins with to the torch module, and export the result.

A module in memory has no bytes to keep, so the cached step is the graph that it is exported to, under a digest of all
that decides it. A pass that trains keeps its progress in a folder of its own, which a killed run finds again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import cache, registry
from edgekit._record import digest_of
from edgekit.errors import UnsupportedError
from edgekit.model import Model
from edgekit.pipeline import recipe_passes
from edgekit.pipeline.blame import blamed_pass
from edgekit.pipeline.builder import Builder, made_by
from edgekit.pipeline.export import Export
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.plugin import Pass, Training


def graph(export: Export, planned: PlannedCandidate) -> Model:
    """Return the graph that the candidate's passes on graphs start from: the original's or the changed module's."""
    passes = [recipe_passes.configured(step, planned.recipe) for step in recipe_passes.before_export(planned.recipe)]
    if not passes:
        return export.model
    if not export.model.is_single:
        raise UnsupportedError(
            f"the pass '{passes[0].name}' changes torch modules of one graph; this model has several.",
            hint="choose a recipe that changes graphs alone, such as int8-dynamic",
        )
    builder = export.builder
    inputs = [_inputs(instance, export) for instance in passes]
    key = {
        "source": builder.source_key or _digest_of_module(builder),
        "graph": export.model.digest,
        "export": builder.export_config,
        "passes": inputs,
    }

    def make(work: Path) -> Model:
        module = builder.loaded()
        for count, instance in enumerate(passes, 1):
            module = _applied(export, module, instance, {**key, "passes": inputs[:count]}, planned)
        return builder.export(module, work)

    name = "-".join(instance.name for instance in passes)
    return builder.cached_model(name, key, registry.pass_type("export"), make)


def _inputs(instance: Pass, export: Export) -> Mapping[str, Any]:
    """Return what decides what a pass makes of the module that it is given."""
    evaluation = export.evaluation
    trains, feeds = recipe_passes.trains(instance), evaluation.feeds
    return {
        "name": instance.name,
        "config": instance.to_dict(),  # type: ignore[attr-defined]  # the registry demands a Record
        "made_by": made_by(type(instance)),
        "samples": feeds.digest if feeds is not None and instance.needs_samples else None,
        "training": evaluation.training.digest if evaluation.training is not None and trains else None,
        "seed": export.plan.project.seed if trains else None,
    }


def _applied(export: Export, module: Model, instance: Any, key: Mapping[str, Any], planned: PlannedCandidate) -> Model:
    """Apply one pass; one that trains shows its own progress."""
    evaluation, builder = export.evaluation, export.builder
    samples = evaluation.feeds if instance.needs_samples else None
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(cache.workdir(instance.name))
        if not recipe_passes.trains(instance):
            stack.enter_context(export.progress.step(f"{instance.name} ({planned.recipe.name})"))
            stack.enter_context(blamed_pass(instance.name))
            return instance.apply(module, samples, work)  # type: ignore[no-any-return]
        assert evaluation.training is not None, "a plan without training data leaves out what trains"
        folder = stack.enter_context(cache.partial(digest_of(dict(key)), instance.name))
        seed = export.plan.project.seed
        training = Training(evaluation.training, builder.loaded(), folder, export.progress, seed)
        stack.enter_context(blamed_pass(instance.name))
        return instance.apply(module, samples, work, training)  # type: ignore[no-any-return]


def _digest_of_module(builder: Builder) -> Sequence[str]:
    """Identify a model that only the user's code can make by its weights and structure."""
    from edgekit.frameworks import torch_pass

    return [builder.plan.source, torch_pass.digest_of(torch_pass.module_of(builder.loaded()))]
