"""Carry out the passes that a recipe begins with on the live module, and export what they made of it.

A live module has no bytes to keep, so the cached step is the graph that it is exported to, under a digest of all that
decides it. A pass that trains keeps its progress in a folder of its own, which a killed run finds again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import cache
from edgekit._record import digest_of
from edgekit.evaluation.dataset import Evaluation
from edgekit.model import Model
from edgekit.pipeline import recipe_passes
from edgekit.pipeline.builder import Build, blamed, code_of, tool_versions
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.plugin import Pass, Training


def graph(build: Build, model: Model, planned: PlannedCandidate, evaluation: Evaluation) -> Model:
    """Give the graph that the candidate's other passes start from: `model`, the original's, or that of the module which
    its passes before the export give.
    """
    passes = [recipe_passes.configured(step, planned.recipe) for step in recipe_passes.live(planned.recipe)]
    if not passes:
        return model
    facts = [_facts(instance, build, evaluation) for instance in passes]
    key = {
        "source": build.source_key or _digest_of_module(build),
        "graph": model.digest,
        "export": build.export_config,
        "passes": facts,
    }

    def make(work: Path) -> Model:
        live = build.loaded()
        for count, instance in enumerate(passes, 1):
            live = _applied(build, live, instance, {**key, "passes": facts[:count]}, planned, evaluation)
        return build.export(live, work)

    return build.cached_model("-".join(instance.name for instance in passes), key, type(passes[-1]), make)


def _facts(instance: Pass, build: Build, evaluation: Evaluation) -> Mapping[str, Any]:
    """Gather what decides what a pass does to the module that it is given."""
    trains, feeds = getattr(instance, "trains", False), evaluation.feeds
    return {
        "name": instance.name,
        "config": instance.to_dict(),  # type: ignore[attr-defined]  # the registry demands a Record
        "code": code_of(type(instance)),
        "samples": feeds.digest if feeds is not None and instance.needs_samples else None,
        "training": evaluation.training.digest if evaluation.training is not None and trains else None,
        "seed": build.plan.project.seed if trains else None,
    }


def _applied(
    build: Build,
    live: Model,
    instance: Any,
    key: Mapping[str, Any],
    planned: PlannedCandidate,
    evaluation: Evaluation,
) -> Model:
    """Apply one pass; one that trains shows its own progress."""
    samples = evaluation.feeds if instance.needs_samples else None
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(cache.workdir(instance.name))
        if not getattr(instance, "trains", False):
            stack.enter_context(build.progress.step(f"{instance.name} ({planned.recipe.name})"))
            stack.enter_context(blamed(instance.name))
            return instance.apply(live, samples, work)  # type: ignore[no-any-return]
        assert evaluation.training is not None, "a plan without training data leaves out what trains"
        folder = stack.enter_context(cache.partial(digest_of([dict(key), tool_versions()]), instance.name))
        training = Training(evaluation.training, build.loaded(), folder, build.progress, build.plan.project.seed)
        stack.enter_context(blamed(instance.name))
        return instance.apply(live, samples, work, training)  # type: ignore[no-any-return]


def _digest_of_module(build: Build) -> Sequence[str]:
    """Tell a model that only the user's code can make by its weights and structure."""
    from edgekit.frameworks import torch_pass as live

    return [build.plan.source, live.digest_of(live.module_of(build.loaded()))]
