"""Structured pruning: remove whole channels, attention heads and feed-forward neurons, then recover by training.

Unstructured sparsity is not offered: no backend here runs a sparse graph faster.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from edgekit._files import replacing
from edgekit._record import Record
from edgekit.data import Feeds
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.passes.train.recover import PACKAGES, recover
from edgekit.passes.train.recovery import Recovery
from edgekit.plugin import Training

CANDIDATES = 32
"""Training samples among which the one of median size is taken to count multiply-adds on."""

SHOWN = 24
"""Number of layers that the lineage lists."""


@dataclass(frozen=True)
class Prune(Record):
    """Remove the least important channels, heads and neurons, and recover the accuracy on the training data."""

    name: ClassVar[str] = "prune"
    accepts: ClassVar[frozenset[str]] = frozenset({"torch"})
    gives: ClassVar[str] = "torch"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = (*PACKAGES, "torch-pruning")
    trains: ClassVar[bool] = True
    prunes: ClassVar[bool] = True

    ratio: float = 0.3
    """Share of the multiply-adds to remove. With half of its output channels a layer has about half of its work, with
    half of its input channels too, a quarter."""
    importance: Literal["taylor", "magnitude"] = "taylor"
    """`taylor`: the change of the loss on training samples, to first order. `magnitude`: the size of the weights."""
    round_to: int = 8
    """Widths become multiples of this, the width of the kernels. The target decides it where the recipe does not."""
    steps: int = 1
    """Number of rounds of removal and recovery; they share the epochs."""
    samples: int = 512
    """Number of training samples on which the importance is measured."""
    exclude: tuple[str, ...] = ()
    """Names of modules to leave as they are, their parts included."""
    recovery: Recovery = field(default_factory=lambda: Recovery(epochs=5))

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UsageError(
                f"prune: ratio = {self.ratio:g} is not possible: it must be between 0 and 1.",
                hint="give the share to remove: ratio = 0.5",
            )
        for name in ("round_to", "steps", "samples"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"prune: {name} = {getattr(self, name)} is not possible: it must be at least 1.",
                    hint=f"set {name} = 1 or more in the recipe, or leave it out",
                )

    def apply(self, model: Model, samples: Feeds | None, workdir: Path, training: Training | None = None) -> Model:
        """Return the smaller, recovered module; a run that was killed continues from its last checkpoint.

        Raises UnsupportedError where the architecture cannot be followed or so much cannot be removed.
        """
        from edgekit.frameworks import torch_pass
        from edgekit.passes.prune import pruning_plan
        from edgekit.passes.prune.multiplications import count

        if training is None or not len(training.data):
            raise UsageError("pruning needs training data, but there is none.", hint="pass samples with --train DIR")
        started = time.perf_counter()
        example = _example(training)
        forward = _forward(model, example)
        whole = count(torch_pass.module_of(model), forward).total
        recovery = replace(self.recovery, epochs=max(1, self.recovery.epochs // self.steps))
        student, notes = model, []
        for number in range(1, self.steps + 1):
            budget = whole - int(whole * self.ratio * number / self.steps)
            plan, step_notes = self._plan(student, training, example, budget, number)
            small = pruning_plan.apply(torch_pass.module_of(student), plan)
            recovered = recover(torch_pass.with_module(student, small), training, recovery, stage=f"prune-{number}")
            student = recovered.model
            notes += [*step_notes, recovered.note]
        left = count(torch_pass.module_of(student), forward).total
        notes.insert(0, f"multiply-adds: {whole:,}, then {left:,} ({1 - left / whole:.1%} removed)")
        return torch_pass.changed(
            model,
            torch_pass.module_of(student),
            name=self.name,
            config=self.to_dict(),
            packages=self.packages,
            seconds=time.perf_counter() - started,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _plan(
        self, student: Model, training: Training, example: Any, budget: int, number: int
    ) -> tuple[Any, tuple[str, ...]]:
        """Return the plan and notes of one step: saved ones of a run that was killed, else newly chosen ones."""
        from edgekit.frameworks import torch_pass
        from edgekit.passes.prune.pruning_plan import PruningPlan

        file, before = training.folder / f"prune-{number}.json", torch_pass.digest_of(torch_pass.module_of(student))
        if file.exists():
            kept = json.loads(file.read_text())
            if kept["module"] == before:
                return PruningPlan.from_dict(kept["plan"]), tuple(kept["notes"])
        title = "choosing what to prune" + (f" ({number} of {self.steps})" if self.steps > 1 else "")
        with training.progress.step(title):
            plan, notes = self._choose(student, training, example, budget)
        with replacing(file) as part:
            part.write_text(json.dumps({"module": before, "plan": plan.to_dict(), "notes": list(notes)}))
        return plan, notes

    def _choose(self, student: Model, training: Training, example: Any, budget: int) -> tuple[Any, tuple[str, ...]]:
        import torch

        from edgekit.frameworks import torch_pass
        from edgekit.passes.prune import channel_groups, selection
        from edgekit.passes.prune.multiplications import count, one_thread

        module, forward = torch_pass.module_of(student), _forward(student, example)
        prunable = channel_groups.prunable(module, forward, count(module, forward), self.exclude)
        if not prunable.groups:
            raise UnsupportedError(
                f"'{type(module).__name__}' has no part that can be pruned.",
                problems=prunable.notes,
                hint="use a recipe without pruning",
            )
        # Each group keeps at least half of the share that is left overall, so that no layer becomes a bottleneck.
        least = [max(1, math.ceil(group.size * (1 - self.ratio) / 2)) for group in prunable.groups]
        scores = self._scores(student, training, prunable.groups)
        plan = selection.select(
            module, forward, prunable.groups, scores, budget=budget, round_to=self.round_to, least=least
        )
        with one_thread(), torch.no_grad():
            if not channel_groups.sound(module, plan, forward, forward(module)):
                raise BuildError(
                    f"removing the chosen parts of '{type(module).__name__}' at once changes what it computes.",
                    hint=f"leave some of its modules out with `exclude`: {_widths(prunable.groups, plan)}",
                )
        return plan, (_widths(prunable.groups, plan), *prunable.notes)

    def _scores(self, student: Model, training: Training, groups: Sequence[Any]) -> list[list[float]]:
        import copy

        from edgekit.frameworks import torch_pass
        from edgekit.passes.prune import importance

        if self.importance == "magnitude":
            return importance.by_magnitude(torch_pass.module_of(student), groups)
        module = copy.deepcopy(torch_pass.module_of(student)).requires_grad_(True)
        losses = importance.losses(torch_pass.with_module(student, module), training, self.samples)
        return importance.by_taylor(module, groups, losses)


def _example(training: Training) -> dict[str, Any]:
    """Return the inputs of the training sample of median size among the first, as tensors."""
    import torch

    samples = [training.data.inputs(index) for index in range(min(CANDIDATES, len(training.data)))]
    samples.sort(key=lambda feeds: sum(array.size for array in feeds.values()))
    return {name: torch.from_numpy(array) for name, array in samples[len(samples) // 2].items()}


def _forward(model: Model, example: dict[str, Any]) -> Any:
    """Return the function that runs another module on the example in the way in which the model's own is run."""
    from edgekit.frameworks import torch_pass

    return lambda module: torch_pass.outputs(torch_pass.with_module(model, module), example)


def _widths(groups: Sequence[Any], plan: Any) -> str:
    """Return a note of how many channels, heads and neurons are left, in all and by layer."""
    removed = {(cut.module, cut.axis): set(cut.remove) for cut in plan.cuts}
    totals: dict[str, list[int]] = {}
    layers = []
    for group in groups:
        first = group.members[0]
        gone = removed.get((first.module, first.axis), set())
        left = sum(gone.isdisjoint(channels) for channels in first.channels)
        total = totals.setdefault(group.kind, [0, 0])
        total[0], total[1] = total[0] + group.size, total[1] + left
        layers += [f"{group.name} {group.size} to {left}"] if left < group.size else []
    sums = ", ".join(f"{kind} {before:,} to {after:,}" for kind, (before, after) in totals.items())
    return f"{sums}: {', '.join(layers[:SHOWN])}{', ...' if len(layers) > SHOWN else ''}"
