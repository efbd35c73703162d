"""One export under way: the plan, what builds it, the original's graph, the data that judges, and the original's trace.

Every step of the pipeline takes it: candidates, repair, mixed precision, search, measuring, tuning, writing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import cache
from edgekit._record import digest_of
from edgekit.evaluation.activation import with_observed_activation
from edgekit.evaluation.class_order import ordered
from edgekit.evaluation.dataset import Evaluation, prepare
from edgekit.evaluation.reference_outputs import VERSION, ReferenceOutputs, record
from edgekit.model import Model
from edgekit.pipeline import budget, recipe_passes
from edgekit.pipeline.builder import Builder, made_by
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.planning import for_generation
from edgekit.progress import Progress


@dataclass(frozen=True)
class Export:
    """What every step of one export works on."""

    plan: Plan
    builder: Builder
    model: Model
    """The original as a graph in full precision."""
    evaluation: Evaluation
    reference: ReferenceOutputs

    @classmethod
    def start(cls, plan: Plan, builder: Builder) -> Export:
        """Export the original's graph, bind the data to its task, and run the original once on every sample."""
        model = builder.exported()
        if model.states:
            plan = for_generation(plan)
        evaluation = prepare(plan.project, model)
        budget.check_states(plan, model, evaluation.task.config.generation)
        reference = _reference(builder, model, evaluation)
        if model.states and not any(recipe_passes.before_export(each.recipe) for each in plan.candidates):
            builder.release()  # a language model fills the memory that its candidates need
        evaluation = ordered(with_observed_activation(evaluation, reference, model), reference, model)
        return cls(plan, builder, model, evaluation, reference)

    @property
    def progress(self) -> Progress:
        return self.builder.progress

    @property
    def data_key(self) -> list[Any]:
        """Return what decides the outcome of judging, beside what is judged."""
        return [self.reference.digest, self.evaluation.samples.digest, self.evaluation.task.config.to_dict()]


def _reference(builder: Builder, model: Model, evaluation: Evaluation) -> ReferenceOutputs:
    """Run the original on the evaluation samples, or take its trace from the cache."""
    task, samples = evaluation.task, evaluation.samples

    def run(work: Path) -> None:
        record(builder.original(), task, samples, work, builder.progress)

    if builder.source_digest is None:
        # The user's own code may have changed where no digest can see it: its outputs are computed each time.
        work = builder.enter_context(cache.workdir("reference"))
        run(work)
        return ReferenceOutputs(work, task, samples)
    key = [builder.source_digest, model.digest, samples.digest, task.config.to_dict()]
    folder, _ = cache.fetch(digest_of(["reference", VERSION, key, made_by(type(builder.source))]), "reference", run)
    return ReferenceOutputs(folder, task, samples)
