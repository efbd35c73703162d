"""Search a larger space than the target's candidates with Optuna, and give the best few to the contest.

Each trial is built, held against the gate and measured for a moment by turns with one plain candidate, so that times of
different hours compare. The study lies in the cache under a digest of all that decides it: a search that was killed
goes on, and what it finished is not done again.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import bench, cache, registry
from edgekit._record import digest_of
from edgekit.errors import BuildError, DeviceError, EnvironmentFault, UnsupportedError
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.gate import miss
from edgekit.evaluation.reference_outputs import Originals
from edgekit.model import Model
from edgekit.pipeline import bench_inputs, torch_passes
from edgekit.pipeline import candidates as trial
from edgekit.pipeline import search_space as space
from edgekit.pipeline.budget import excesses
from edgekit.pipeline.builder import Build, tool_versions
from edgekit.pipeline.candidates import Tried
from edgekit.pipeline.objective import GOALS
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.repair import layer_costs, repairable
from edgekit.pipeline.search_space import Space
from edgekit.progress import Progress

VERSION = 1
"""Raised when the meaning of a stored trial changes, so that those of the old kind are not found."""

FINALISTS = 3
"""The best trials that are measured at length, beside the plain candidates."""

REPEATS = 10
"""Proposals in a row that were tried before, after which the next point in order is taken instead."""

BAD = 1e6
"""The value of a trial that cannot be shipped: how far it is from that is what its constraints tell."""

TURN = bench.Settings(
    min_seconds=0.4, min_count=8, max_seconds=4.0, round_ms=40.0, warmup_min_seconds=0.1, warmup_max_seconds=2.0
)
"""A short measurement, enough to tell the search where to look: the contest measures again."""


@dataclass(frozen=True)
class Search:
    """One search under way: what trials are built from and held against."""

    build: Build
    model: Model
    evaluation: Evaluation
    originals: Originals
    reference: Tried
    """The plain candidate that each trial is measured by turns with."""
    space: Space

    @property
    def key(self) -> str:
        """Give a digest of all that decides what a trial finds."""
        project, made = self.build.plan.project, self.build.plan
        return digest_of(
            [
                ["search", VERSION, self.space.to_dict(), self.reference.compiled.key, project.seed, project.objective],
                [self.model.digest, self.originals.digest, self.evaluation.samples.digest],
                [made.latency_budget_ms, made.size_budget_mb, made.memory_budget_mb],
                [project.max_drop, project.min_agreement, made.target.to_dict(), tool_versions()],
                [data.digest for data in (self.evaluation.feeds, self.evaluation.training) if data is not None],
                {backend: dict(registry.backend(backend).probe().versions) for backend in self.space.recipes},
            ]
        )

    def attempt(self, point: Mapping[str, Any], name: str) -> Tried:
        """Build a point and hold it against the gate. Raises UnsupportedError or BuildError."""
        planned = space.candidate(self.build.plan, point, name, self._worst)
        (made,) = trial.attempt(self.build, planned, self.model, self.evaluation, self.originals, mend=False)
        return replace(made, notes=(planned.recipe.summary,))

    def judge(self, made: Tried) -> tuple[float, list[float]]:
        """Give how good a trial is, less being better, and by how much it misses the gate and the budgets, 0 being not
        at all.
        """
        plan, goal = self.build.plan, GOALS[self.build.plan.project.objective]
        missed = min(BAD, miss(made.quality))
        if missed or not plan.project.bench or plan.mismatches:
            over = [excess.share for excess in excesses(plan, made.compiled.size_mb, None)]
            value = goal.cost(made)
            return (BAD if value is None or missed else value), [missed, max(over, default=0.0)]
        inputs = [made.compiled.built.inputs, self.reference.compiled.built.inputs]
        feeds, batch = bench_inputs.feeds(self.evaluation, plan.project.objective, inputs)
        entries = [
            bench.Entry(name, t.planned.backend, t.compiled.payload, feeds, batch)
            for name, t in (("reference", self.reference), ("trial", made))
        ]
        reference, found = bench.benchmark(entries, TURN)
        if found.measurement is None or reference.measurement is None:
            return BAD, [0.0, 1.0]
        over = [excess.share for excess in excesses(plan, made.compiled.size_mb, found.measurement)]
        value = 1 / bench.faster(found, reference).ratio if goal.timed else goal.cost(replace(made, outcome=found))
        return (BAD if value is None else value), [0.0, max(over, default=0.0)]

    def _worst(self, planned: PlannedCandidate) -> list[str]:
        """Give the layers of a candidate, those first that cost most, as its recipe's own settings find them."""
        step = repairable(planned)
        assert step is not None
        start = torch_passes.graph(self.build, self.model, planned, self.evaluation)
        return [cost.name for cost in layer_costs(self.build, planned, step, start, self.evaluation.feeds)]


def search(
    build: Build, model: Model, evaluation: Evaluation, originals: Originals, tried: Sequence[Tried]
) -> list[Tried]:
    """Run the trials that are left of those asked for, and give the best that keep the gate and the budgets.

    Raises EnvironmentFault where Optuna is missing, UsageError where there is nothing to choose.
    """
    calibration = 0 if evaluation.calibration is None else len(evaluation.calibration)
    reference = next((t for t in tried if t.quality.ok), tried[0])
    one = Search(build, model, evaluation, originals, reference, space.space(build.plan, calibration))
    with cache.partial(one.key, "search") as folder, _study(folder, build.progress) as study:
        _run(study, one)
        found = _best(study)
    made = []
    for name, point in entrants(found):
        with contextlib.suppress(
            UnsupportedError, BuildError
        ):  # it was built before; a changed disk is no reason to end
            made.append(one.attempt(point, name))
    return made


def entrants(found: Sequence[tuple[int, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Name the points that compete: the best trials, and beside each pruned one the same without its pruning, which it
    must beat to be shipped.
    """
    several: list[tuple[str, dict[str, Any]]] = []
    for place, point in found:
        several.append((f"search{place}", point))
        whole = {**point, "pruned": 0.0}
        if point.get("pruned") and whole not in [other for _, other in (*found, *several)]:
            several.append((f"search{place}-whole", whole))
    return several


def _run(study: Any, one: Search) -> None:
    """Do trials until there are as many as were asked for, or as many as there are points."""
    from optuna.trial import TrialState

    for left in study.get_trials(states=(TrialState.RUNNING,)):  # of a search that was killed: it is proposed again
        study.tell(left.number, state=TrialState.FAIL)
    wanted = min(one.build.plan.project.search, sum(1 for _ in one.space.points()))
    known = {_text(t.user_attrs["point"]) for t in _complete(study)}
    if known:
        one.build.progress.note(f"search: {len(known)} of {wanted} trials are known from before")
    while len(known) < wanted:
        asked, point = _proposed(study, one, known)
        place = len(known) + 1
        value, missed, said = _trial(one, point, place)
        # All of it is written before the trial counts as complete.
        for name, found in (("point", point), ("place", place), ("missed", missed)):
            asked.set_user_attr(name, found)
        study.tell(asked, value)
        known.add(_text(point))
        one.build.progress.note(f"search: {place} of {wanted}, {point['backend']}: {space.words(point)}: {said}")


def _proposed(study: Any, one: Search, known: set[str]) -> tuple[Any, dict[str, Any]]:
    """Give a trial with a point that is not known yet."""
    from optuna.trial import TrialState

    for attempt in range(REPEATS):
        # A proposal rests on what is known and not on when it is made: a killed search goes on as it would have.
        study.sampler = _sampler(one.build.plan.project.seed + REPEATS * len(known) + attempt)
        asked = study.ask()
        point = one.space.draw(asked.suggest_categorical)
        if _text(point) not in known:
            return asked, point
        study.tell(asked, state=TrialState.FAIL)
    choices, point = next(pair for pair in one.space.points() if _text(pair[1]) not in known)
    study.enqueue_trial(choices)
    asked = study.ask()
    return asked, one.space.draw(asked.suggest_categorical)


def _trial(one: Search, point: Mapping[str, Any], place: int) -> tuple[float, list[float], str]:
    """Give a trial's value, what it misses, and both in words."""
    try:
        made = one.attempt(point, f"search{place}")
    except (UnsupportedError, BuildError) as fault:
        return BAD, [1.0, 1.0], fault.message.partition("\n")[0]
    value, missed = one.judge(made)
    if missed[0]:
        return value, missed, "; ".join(check.meaning for check in made.quality.checks if not check.passed)
    if missed[1]:
        return value, missed, "over budget"
    goal = GOALS[one.build.plan.project.objective]
    timed = f"{value:.2f}x {goal.cost_of} {one.reference.planned.name}"
    return value, missed, timed if goal.timed else f"{value:.3g} MB"


def _best(study: Any) -> list[tuple[int, dict[str, Any]]]:
    """Give the best trials that miss nothing, as the place in which they were done and their point."""
    able = [t for t in _complete(study) if not any(t.user_attrs["missed"]) and t.value < BAD]
    able.sort(key=lambda t: (t.value, t.user_attrs["place"]))
    return [(t.user_attrs["place"], t.user_attrs["point"]) for t in able[:FINALISTS]]


def _complete(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return list(study.get_trials(states=(TrialState.COMPLETE,)))


def _text(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


@contextlib.contextmanager
def _study(folder: Path, progress: Progress) -> Iterator[Any]:
    """Open the study that lies in `folder`, made anew where none does or where it is damaged.

    Raises DeviceError when it cannot be written any more.
    """
    try:
        import optuna
    except ImportError as error:
        raise EnvironmentFault("a search needs the package optuna.", hint="pip install 'edgekit[build]'") from error
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = folder / "study.db"
    with warnings.catch_warnings():
        # Optuna calls its constraints experimental; the lock pins the release that is tested.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            try:
                study = _opened(file)
            except Exception as error:  # of sqlite, SQLAlchemy or Optuna, each with its own
                progress.note(
                    f"search: the record of an earlier one is damaged, it begins anew ({type(error).__name__})"
                )
                file.unlink(missing_ok=True)
                study = _opened(file)
            yield study
        except optuna.exceptions.StorageInternalError as error:
            raise DeviceError(
                f"the record of the search could not be written to '{file}'.",
                hint="free some space, or give another --cache-dir",
            ) from error
        finally:
            optuna.logging.set_verbosity(level)


def _opened(file: Path) -> Any:
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    return optuna.create_study(study_name="search", storage=storage, load_if_exists=True)


def _sampler(seed: int) -> Any:
    import optuna

    return optuna.samplers.TPESampler(
        seed=seed, constraints_func=lambda trial: trial.user_attrs.get("missed", (BAD, BAD))
    )
