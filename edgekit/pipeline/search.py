"""Search a larger space than the target's candidates with Optuna, and add the best few to the candidates.

Each trial is built, judged by the gate and measured briefly, interleaved with one plain candidate, so that times of
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
from edgekit.evaluation.gate import miss
from edgekit.pipeline import bench_inputs, candidates, search_space, torch_passes
from edgekit.pipeline.budget import excesses
from edgekit.pipeline.builder import made_by
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.export import Export
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

TRIAL = bench.Settings(
    min_seconds=0.4, min_count=8, max_seconds=4.0, round_ms=40.0, warmup_min_seconds=0.1, warmup_max_seconds=2.0
)
"""A short measurement, enough to tell the search where to look: the contest measures again."""


@dataclass(frozen=True)
class Search:
    """One search under way: what trials are built from and compared with."""

    export: Export
    baseline: BuiltCandidate
    """The plain candidate that each trial is measured interleaved with."""
    space: Space

    @property
    def key(self) -> str:
        """Return a digest of all that decides the outcome of a trial."""
        export, plan = self.export, self.export.plan
        project = plan.project
        return digest_of(
            [
                ["search", VERSION, self.space.to_dict(), self.baseline.compiled.key, project.seed, project.objective],
                [export.model.digest, export.reference.digest, export.evaluation.samples.digest],
                [plan.latency_budget_ms, plan.size_budget_mb, plan.memory_budget_mb],
                [project.allowed_drop, project.min_agreement, plan.target.to_dict()],
                [data.digest for data in (export.evaluation.feeds, export.evaluation.training) if data is not None],
                {backend: dict(registry.backend(backend).probe().versions) for backend in self.space.recipes},
                {name: made_by(registry.pass_type(name)) for name in self.space.passes},
            ]
        )

    def attempt(self, point: Mapping[str, Any], name: str) -> BuiltCandidate:
        """Build and judge a point. Raises UnsupportedError or BuildError."""
        planned = search_space.candidate(self.export.plan, point, name, self._worst)
        (candidate,) = candidates.attempt(self.export, planned, mend=False)
        return replace(candidate, notes=(planned.recipe.summary,))

    def value(self, candidate: BuiltCandidate) -> tuple[float, list[float]]:
        """Return how good a trial is, less being better, and by how much it misses the gate and the budgets, 0 being
        not at all.
        """
        plan, goal = self.export.plan, GOALS[self.export.plan.project.objective]
        missed = min(BAD, miss(candidate.quality))
        if missed or not plan.project.bench or plan.mismatches:
            over = [excess.share for excess in excesses(plan, candidate.compiled.size_mb, None)]
            value = goal.cost(candidate)
            return (BAD if value is None or missed else value), [missed, max(over, default=0.0)]
        inputs = [candidate.compiled.inputs, self.baseline.compiled.inputs]
        feeds, batch = bench_inputs.feeds(self.export, inputs)
        entries = [self.baseline.entry("baseline", feeds, batch), candidate.entry("trial", feeds, batch)]
        baseline, trial = bench.benchmark(entries, TRIAL)
        if trial.measurement is None or baseline.measurement is None:
            return BAD, [0.0, 1.0]
        over = [excess.share for excess in excesses(plan, candidate.compiled.size_mb, trial.measurement)]
        value = 1 / bench.faster(trial, baseline).ratio if goal.timed else goal.cost(replace(candidate, outcome=trial))
        return (BAD if value is None else value), [0.0, max(over, default=0.0)]

    def _worst(self, planned: PlannedCandidate) -> list[str]:
        """Return the layers of a candidate, those first that cost most, as measured with its recipe's own settings."""
        step = repairable(planned)
        assert step is not None
        start = torch_passes.graph(self.export, planned)
        return [cost.name for cost in layer_costs(self.export, planned, step, start)]


def add_trials(export: Export, built: Sequence[BuiltCandidate]) -> list[BuiltCandidate]:
    """Return the candidates, and the best trials of the search where the project asks for one.

    Raises EnvironmentFault where Optuna is missing, UsageError where there is nothing to choose.
    """
    return [*built, *search(export, built)] if export.plan.project.search else list(built)


def search(export: Export, built: Sequence[BuiltCandidate]) -> list[BuiltCandidate]:
    """Run the trials that are left of those asked for, and return the best that keep the gate and the budgets."""
    if not export.model.is_single:
        raise UnsupportedError(
            "a search chooses layers by what each costs alone, and in a model of several graphs, or with states, a "
            "layer's cost also depends on the calls before it.",
            hint="leave out --search; a recipe of your own may name parts_in_float",
        )
    calibration = export.evaluation.calibration
    baseline = next((candidate for candidate in built if candidate.quality.ok), built[0])
    space = search_space.space(export.plan, 0 if calibration is None else len(calibration))
    search = Search(export, baseline, space)
    with cache.partial(search.key, "search") as folder, _study(folder, export.progress) as study:
        _run(study, search)
        best = _best(study)
    finalists = []
    for name, point in entrants(best):
        with contextlib.suppress(
            UnsupportedError, BuildError
        ):  # it was built before; a changed disk does not end the search
            finalists.append(search.attempt(point, name))
    return finalists


def entrants(best: Sequence[tuple[int, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Name the points that compete: the best trials, and beside each pruned one the same without its pruning, which it
    must beat to be shipped.
    """
    several: list[tuple[str, dict[str, Any]]] = []
    for place, point in best:
        several.append((f"search{place}", point))
        whole = {**point, "pruned": 0.0}
        if point.get("pruned") and whole not in [other for _, other in (*best, *several)]:
            several.append((f"search{place}-whole", whole))
    return several


def _run(study: Any, search: Search) -> None:
    """Do trials until there are as many as were asked for, or as many as there are points."""
    from optuna.trial import TrialState

    progress = search.export.progress
    for left in study.get_trials(states=(TrialState.RUNNING,)):  # of a search that was killed: it is proposed again
        study.tell(left.number, state=TrialState.FAIL)
    wanted = min(search.export.plan.project.search, sum(1 for _ in search.space.points()))
    known = {_text(trial.user_attrs["point"]) for trial in _complete(study)}
    if known:
        progress.note(f"search: {len(known)} of {wanted} trials are known from before")
    while len(known) < wanted:
        proposal, point = _proposed(study, search, known)
        place = len(known) + 1
        value, missed, outcome = _trial(search, point, place)
        # All of it is written before the trial counts as complete.
        for name, attribute in (("point", point), ("place", place), ("missed", missed)):
            proposal.set_user_attr(name, attribute)
        study.tell(proposal, value)
        known.add(_text(point))
        progress.note(f"search: {place} of {wanted}, {point['backend']}: {search_space.words(point)}: {outcome}")


def _proposed(study: Any, search: Search, known: set[str]) -> tuple[Any, dict[str, Any]]:
    """Return a trial with a point that is not known yet."""
    from optuna.trial import TrialState

    for attempt in range(REPEATS):
        # A proposal rests on what is known and not on when it is made: a killed search goes on as it would have.
        study.sampler = _sampler(search.export.plan.project.seed + REPEATS * len(known) + attempt)
        proposal = study.ask()
        point = search.space.draw(proposal.suggest_categorical)
        if _text(point) not in known:
            return proposal, point
        study.tell(proposal, state=TrialState.FAIL)
    choices, point = next(pair for pair in search.space.points() if _text(pair[1]) not in known)
    study.enqueue_trial(choices)
    proposal = study.ask()
    return proposal, search.space.draw(proposal.suggest_categorical)


def _trial(search: Search, point: Mapping[str, Any], place: int) -> tuple[float, list[float], str]:
    """Return a trial's value, what it misses, and both in words."""
    try:
        candidate = search.attempt(point, f"search{place}")
    except (UnsupportedError, BuildError) as fault:
        return BAD, [1.0, 1.0], fault.message.partition("\n")[0]
    value, missed = search.value(candidate)
    if missed[0]:
        return value, missed, "; ".join(check.meaning for check in candidate.quality.checks if not check.passed)
    if missed[1]:
        return value, missed, "over budget"
    goal = GOALS[search.export.plan.project.objective]
    timed = f"{value:.2f}x {goal.cost_of} {search.baseline.name}"
    return value, missed, timed if goal.timed else f"{value:.3g} MB"


def _best(study: Any) -> list[tuple[int, dict[str, Any]]]:
    """Return the best trials that miss nothing, as the place in which they were done and their point."""
    passing = [trial for trial in _complete(study) if not any(trial.user_attrs["missed"]) and trial.value < BAD]
    passing.sort(key=lambda trial: (trial.value, trial.user_attrs["place"]))
    return [(trial.user_attrs["place"], trial.user_attrs["point"]) for trial in passing[:FINALISTS]]


def _complete(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return list(study.get_trials(states=(TrialState.COMPLETE,)))


def _text(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


@contextlib.contextmanager
def _study(folder: Path, progress: Progress) -> Iterator[Any]:
    """Open the study that lies in `folder`, or a new one where there is none or it is damaged.

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
                progress.note(f"search: the saved study is damaged, starting over ({type(error).__name__})")
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
