"""From a project to a plan: target, source, recipes and backends resolved, and the whole chain checked.

Nothing heavy is imported here: a plan is made in a moment, prints, and can be run later. `builder.py` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgekit import catalog, data, embedded, registry
from edgekit._record import Record
from edgekit.errors import EnvironmentFault, UnsupportedError, UsageError, nearest
from edgekit.model import Model, Reference
from edgekit.pipeline import baselines, pass_defaults, recipe_passes
from edgekit.plugin import Source
from edgekit.project import Project, to_toml
from edgekit.recipe.recipe import PRUNED, PassConfig, Recipe, pruned
from edgekit.spec import TensorSpec
from edgekit.target import host as _host
from edgekit.target.target import Target

LIVE = "live"
"""The source of a module that the caller holds in memory."""

TEXT_LENGTH = 128
"""Tokens that a text graph gets where the target wants fixed shapes and the user names no length."""


@dataclass(frozen=True)
class PlannedCandidate(Record):
    """One way to try: a backend, a resolved recipe, and what is known to be in its way."""

    backend: str
    recipe: Recipe
    problems: tuple[str, ...] = ()
    baseline: bool = False
    """Measured for comparison only: what the user asked for must not be slower."""
    fallback: bool = False
    """BuiltCandidate only where no int8 candidate passes the gate, not even repaired."""

    @property
    def name(self) -> str:
        return f"{self.backend}/{self.recipe.name}"


@dataclass(frozen=True)
class Plan(Record):
    """What an export will do. Its TOML form is a project file that does just this."""

    project: Project
    target: Target
    source: str
    candidates: tuple[PlannedCandidate, ...]
    shapes: Mapping[str, int] = field(default_factory=dict)
    mismatches: tuple[str, ...] = ()
    """Why measurements here do not count for the target; empty when they do."""

    @property
    def latency_budget_ms(self) -> float | None:
        """Give the least of what the project and the target allow; None where neither does."""
        return _least(self.project.max_latency_ms, self.target.limits.latency_ms)

    @property
    def size_budget_mb(self) -> float | None:
        """Give the least of what the project and the target allow; None where neither does."""
        return _least(self.project.max_size_mb, self.target.limits.size_mb)

    @property
    def memory_budget_mb(self) -> float | None:
        """Give the least of what the project and the target allow, in MB of 10^6 bytes, as memory is measured; the
        target's file says it in MiB.
        """
        limit = self.target.limits.memory_mb
        return _least(self.project.max_memory_mb, None if limit is None else limit * 1.048576)

    @property
    def possible(self) -> tuple[PlannedCandidate, ...]:
        return tuple(c for c in self.candidates if not c.problems and not c.baseline and not c.fallback)

    def to_toml(self, *, anywhere: bool = False) -> str:
        """Give the plan as a project file, with what was found as comments; `anywhere` makes its paths absolute."""
        lines = [f"target: {self.target.summary}"]
        if self.mismatches:
            lines.append("not measured here: " + "; ".join(self.mismatches))
        notes = [f"will try {c.name}: {c.recipe.summary}" for c in self.possible]
        notes += [f"left out {c.name}: {'; '.join(c.problems)}" for c in self.candidates if c.problems]
        fallbacks = [c for c in self.candidates if c.fallback and not c.problems]
        notes += [f"will try {c.name} where no int8 passes: {c.recipe.summary}" for c in fallbacks]
        project = replace(
            self.project.absolute() if anywhere else self.project,
            candidates=tuple(c.name for c in self.possible),
            recipe=None,
            backends=(),
            targets={},
        )
        return to_toml(project, {"target": "\n".join(lines), "candidates": "\n".join(notes)})


def plan(project: Project, *, live: bool = False) -> Plan:
    """Resolve target, source, recipes and backends, and check what can be checked before any work.

    `live` says that the model is an object in memory. Raises UsageError, EnvironmentFault or, when no candidate is
    left, UnsupportedError with every reason.
    """
    for ref in filter(None, (project.data, project.calibration, project.train)):
        data.check(ref)
    goal = catalog.target(project.target)
    found = None if live else source_for(reference(project))
    shapes = {name: size for name, size in goal.shapes.items() if isinstance(size, int)}
    shapes |= {name: size for name, size in project.shapes.items() if isinstance(size, int)}
    shapes = {name: size for name, size in shapes.items() if project.shapes.get(name) != "dynamic"}
    if project.objective == "throughput" and "batch" not in project.shapes and not goal.static_shapes_only:
        shapes.pop("batch", None)  # the target's batch of one is for the least latency; batches need it free
    if goal.static_shapes_only:
        shapes.setdefault("sequence", TEXT_LENGTH)
    start = "torch" if found is None else found.gives
    _check_training(project, start)
    candidates = _candidates(project, goal, start)
    made = Plan(project, goal, found.scheme if found else LIVE, candidates, shapes, goal.mismatches(_host.probe()))
    if not made.possible:
        _refuse(made)
    if project.search and made.mismatches and project.objective != "size":
        raise UsageError(
            f"a search needs measurements, and this machine is not '{goal.name}': {'; '.join(made.mismatches)}.",
            hint="search on the device, or for --objective size",
        )
    return made


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


def planned(made: Plan, backend: str, unresolved: Recipe) -> PlannedCandidate:
    """Give a candidate that the plan did not name, resolved, with what is in its way."""
    resolved = pass_defaults.resolve(unresolved, made.target, backend)
    start = "torch" if made.source == LIVE else source_for(reference(made.project)).gives
    unasked = replace(made.project, recipe=None, candidates=())  # a loss that nobody asked for needs data to be seen
    return PlannedCandidate(backend, resolved, _problems(backend, resolved, made.target, unasked, start))


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def reference(project: Project) -> Reference:
    """Give what the source is asked for."""
    if not project.model:
        raise UsageError(
            "no model is given.", hint="name it: `edgekit export ./my-checkpoint`, or put `model` into edgekit.toml"
        )
    return Reference(
        ref=project.model,
        task=project.task,
        processor=project.processor,
        inputs=tuple(TensorSpec.parse(text) for text in project.inputs),
        revision=project.revision,
        offline=project.offline,
        trust_remote_code=project.trust_remote_code,
        allow_pickle=project.allow_pickle,
    )


def source_for(ref: Reference) -> Source:
    """Give the source that claims a reference, its obvious faults checked."""
    for source in registry.sources():
        if source.claims(ref.ref):
            source.check(ref)
            return source
    is_path = ref.ref.startswith((".", "/", "~")) or "/" in ref.ref
    raise UsageError(
        f"there is no folder or file '{ref.ref}'."
        if is_path
        else f"'{ref.ref}' is no model that edgekit can find.{nearest(ref.ref, embedded.names())}",
        hint="give a Hugging Face folder, hf:org/name, a .onnx file, package.module:factory, or an embedded model",
    )


def _candidates(project: Project, goal: Target, start: str) -> tuple[PlannedCandidate, ...]:
    if project.candidates:
        pairs = [_pair(text) for text in project.candidates]
    else:
        backends = project.backends or goal.backends
        names = (project.recipe,) if project.recipe else None
        usual = {b: goal.candidates.get(b) or catalog.default_recipes(b) for b in backends}
        pairs = [(b, r) for b in backends for r in names or _named(project, usual[b])]
        if not project.backends:  # a recipe of one backend is no candidate of others that nobody named
            pairs = [pair for pair in pairs if recipe_passes.fits(_recipe(pair[1]), start, pair[0])] or pairs
    planned = []
    for backend, name in dict.fromkeys(pairs):
        made = pass_defaults.resolve(_recipe(name), goal, backend, prune=project.prune)
        planned.append(PlannedCandidate(backend, made, _problems(backend, made, goal, project, start)))
    all_of_them = [(c.backend, c.recipe) for c in planned]
    possible = [(c.backend, c.recipe) for c in planned if not c.problems]
    measured = project.bench and not goal.mismatches(_host.probe())
    compared = baselines.baselines(all_of_them, possible, goal) if measured else []
    fallbacks = baselines.fallbacks(possible, goal) if project.qat else []
    return (
        *planned,
        *(PlannedCandidate(b, r, _problems(b, r, goal, project, start), baseline=True) for b, r in compared),
        *(PlannedCandidate(b, r, _problems(b, r, goal, project, start), fallback=True) for b, r in fallbacks),
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
            f"'{text}' is no candidate.", hint="write it as backend/recipe, for example onnxruntime/int8-static"
        )
    return backend, name


def _problems(name: str, made: Recipe, goal: Target, project: Project, start: str) -> tuple[str, ...]:
    absent = absence(name)
    if absent:
        return (absent,)
    backend = registry.backend(name)
    backend.options.from_dict(goal.options.get(name, {}), f"target '{goal.name}', options of {name}")
    try:
        gives, problems = recipe_passes.formats(made, start)
    except EnvironmentFault as fault:  # a pass of a plugin that is missing or broken: the other recipes can be tried
        return (_told(fault),)
    problems += (*map(_told, recipe_passes.missing_packages(made)), *_training_problems(made, project))
    problems += backend.supports(Model(format=gives, precision=made.precision), goal).problems
    if not has_data(project):
        asked = project.recipe or project.candidates
        if recipe_passes.needs_samples(made):
            problems += ("it calibrates on data, and none is given",)
        elif made.passes and not asked:
            problems += ("it can lose accuracy, and no data is given to find out",)
    return problems


def absence(name: str) -> str | None:
    """Say why a backend cannot be used on this machine, with the line that mends it; None when it can."""
    try:
        probe = registry.backend(name).probe()
    except EnvironmentFault as fault:
        return _told(fault)
    if probe.available:
        return None
    return f"{'; '.join(probe.problems) or 'it is not available'} ({probe.hint})"


def _told(fault: EnvironmentFault) -> str:
    return f"{fault.message} ({fault.hint})"


def _training_problems(made: Recipe, project: Project) -> tuple[str, ...]:
    if not recipe_passes.needs_training(made):
        return ()
    lacking = [] if project.train else ["it trains, and no training data is given (--train)"]
    if not has_data(project):
        lacking.append("it trains, and no data is given to judge the result on (--data)")
    return tuple(lacking)


def has_data(project: Project) -> bool:
    return bool(project.data or project.calibration or embedded.data_folder(project.model))


def _refuse(made: Plan) -> None:
    if not made.candidates:
        raise UsageError(
            f"the target '{made.target.name}' names no backend, and none is given: there is nothing to build with.",
            hint='write backends = ["onnxruntime"] into its file, or give --backend',
        )
    reasons = [f"{c.name}: {'; '.join(c.problems)}" for c in made.candidates]
    if all("none is given" in reason for reason in reasons):
        raise UsageError(
            f"the recipe '{made.candidates[0].recipe.name}' calibrates on data, and none is given.",
            hint="give samples with --data DIR, or a recipe that needs none: --recipe int8-dynamic, fp16, bf16 or fp32",
        )
    if all("no training data is given" in reason for reason in reasons):
        raise UsageError(
            f"the recipe '{made.candidates[0].recipe.name}' trains, and no training data is given.",
            hint="give samples that the model may learn from with --train DIR, beside --data to judge the result",
        )
    lost = [recipe_passes.missing_packages(c.recipe) for c in made.candidates]
    if all(lost):
        found = {fault.message: fault.hint for faults in lost for fault in faults}
        raise EnvironmentFault(" And ".join(found), hint=" && ".join(dict.fromkeys(filter(None, found.values()))))
    without = [c for c in made.candidates if "is not installed" in " ".join(c.problems)]
    if all(faults or c in without for c, faults in zip(made.candidates, lost, strict=True)):
        names = sorted({c.backend for c in without})
        raise EnvironmentFault(
            f"the target '{made.target.name}' needs the backend {' or '.join(names)}, which is not installed.",
            hint=f"pip install {' '.join(registry.KNOWN_PLUGINS.get(name, name) for name in names)}",
        )
    raise UnsupportedError(f"nothing can be built for '{made.target.name}'.", problems=reasons)
