"""Carry out a plan: load, export, apply passes, compile.

Every step is cached under a digest of all that decides it (settings, tool versions, our own code, the bytes it
starts from), so what two candidates share is made once and a killed run loses one step at most.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import _requirement, cache, registry
from edgekit._record import digest_of, digest_of_file
from edgekit.data import Feeds
from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.evaluation.dataset import example_feeds
from edgekit.model import Model, Original, Reference
from edgekit.pipeline import blame, recipe_passes
from edgekit.pipeline.compiled import Compiled, CompiledPart
from edgekit.pipeline.plan import Plan, PlannedCandidate
from edgekit.pipeline.sizes import known_sizes
from edgekit.pipeline.source import LIVE, reference, source_for
from edgekit.pipeline.stopwatch import Stopwatch
from edgekit.plugin import Built, Pass, Source
from edgekit.progress import Progress

OURS = Path(__file__).parent.parent
HEAVY_ROOMS = ("frameworks", "passes", "sources")
"""The folders of edgekit that decide together what a pass or a source of ours makes."""


class Builder(contextlib.ExitStack):
    """One export under way; as a context manager it removes its work folders at the end."""

    def __init__(self, plan: Plan, progress: Progress, module: Any = None) -> None:
        super().__init__()
        self.plan = plan
        self.progress = progress
        self.module = module
        self.repairing = Stopwatch(plan.project.repair_seconds)
        self._loaded: Model | None = None
        self._passing: dict[str, Path] = {}
        self.part_feeds: dict[str, Mapping[str, Feeds]] = {}
        """The calibration feeds of each part, by the backend that they were recorded with."""

    @functools.cached_property
    def reference(self) -> Reference:
        project = self.plan.project
        return reference(replace(project, model=project.model or LIVE) if self.plan.source == LIVE else project)

    @functools.cached_property
    def source(self) -> Source:
        if self.plan.source != LIVE:
            return source_for(self.reference)
        from edgekit.sources.torch_module import InMemoryModule

        return InMemoryModule(self.module)

    @functools.cached_property
    def source_digest(self) -> str | None:
        return self.source.digest(self.reference)

    def loaded(self) -> Model:
        """Load the original model, once."""
        if self._loaded is None:
            work = self.enter_context(cache.workdir("load"))
            with self.progress.step(f"loading {self.reference.ref}"):
                examples = functools.partial(example_feeds, self.plan.project)
                self._loaded = self.source.load(self.reference, work, examples)
        return self._loaded

    def release(self) -> None:
        """Free the memory of the original model where it can be loaded again."""
        if self.plan.source != LIVE and self.source_key is not None:
            self._loaded = None
            gc.collect()  # modules refer to each other in circles

    def original(self) -> Original:
        """Return the original model in its own framework."""
        original = self.loaded().original
        if original is None:
            raise EdgekitError(f"the source of '{self.reference.ref}' gives no original model to compare with.")
        return original

    @functools.cached_property
    def source_key(self) -> Mapping[str, Any] | None:
        """Return what decides the loaded model; None when only loading can tell."""
        if self.source_digest is None:
            return None
        return {
            "source": self.plan.source,
            "made_by": made_by(type(self.source)),
            "reference": self.reference.to_dict(),
            "files": self.source_digest,
        }

    @property
    def export_config(self) -> Mapping[str, Any]:
        opset = self.plan.project.opset
        return {"shapes": dict(self.plan.shapes), **({"opset": opset} if opset else {})}

    def exported(self) -> Model:
        """Return the model's graph in full precision, its free sizes fixed as planned."""
        if self.source_key is None:
            return known_sizes(self.plan, self.export(self.loaded(), self.enter_context(cache.workdir("export"))))
        key = {**self.source_key, "config": self.export_config}
        kind = registry.pass_type("export")
        return known_sizes(
            self.plan, self.cached_model("export", key, kind, lambda work: self.export(self.loaded(), work))
        )

    def export(self, model: Model, work: Path) -> Model:
        """Export a loaded model, or what passes made of it, into `work`."""
        kind = registry.pass_type("export")
        if model.format not in kind.accepts:  # a plugin's own format, which its passes and backends know
            shutil.copytree(model.folder, work, dirs_exist_ok=True)
            return replace(model, folder=work)
        with self.progress.step("exporting the graph"):
            exported: Model = kind.from_dict(self.export_config, "export").apply(model, None, work)  # type: ignore[attr-defined]
            return exported

    def with_passes(self, model: Model, candidate: PlannedCandidate, feeds: Feeds | None) -> Model:
        """Apply a recipe's passes on graphs in order; those before the export are `torch_passes.py`'s."""
        for step in recipe_passes.after_export(candidate.recipe):
            kind = registry.pass_type(step.name)
            instance = kind.from_dict(step.config, f"recipe '{candidate.recipe.name}', pass '{step.name}'")  # type: ignore[attr-defined]
            given = feeds if kind.needs_samples else None
            key = {
                "config": instance.to_dict(),
                "input": [model.digest, model.precision],  # bf16 is a mark on a graph of the same bytes
                "samples": given.digest if given else None,
            }
            start = model

            def apply(work: Path, instance: Any = instance, start: Model = start, given: Feeds | None = given) -> Model:
                title = f"{instance.name} ({candidate.recipe.name})"
                with self.progress.step(title) as tick, blame.blamed_pass(instance.name):
                    shown = None if given is None else given.with_progress(lambda word: tick(0, word))
                    return instance.apply(start, shown, work)  # type: ignore[no-any-return]

            changed = self.cached_model(step.name, key, kind, apply)
            # The cache knows the step by its bytes; the lineage is this run's.
            model = replace(changed, task=model.task, steps=(*model.steps, *changed.steps[len(start.steps) :]))
        return model

    def build(self, model: Model, candidate: PlannedCandidate, feeds: Feeds | Mapping[str, Feeds] | None) -> Compiled:
        """Apply the candidate's passes on graphs to each part of `model` and compile the results.

        `feeds` are those of the only part, or of each part by its name. Raises UnsupportedError, with every problem, or
        BuildError.
        """
        several = len(model.parts) > 1
        in_float = candidate.recipe.parts_in_float
        for name in in_float:
            model.only(name)  # raises UsageError for a part that the model does not have
        changed, refusals = [], {name: "the recipe leaves it in float" for name in in_float}
        for part in model.parts:
            own = feeds.get(part.name) if isinstance(feeds, Mapping) else feeds
            typed = model.only(part.name)
            try:
                typed = typed if part.name in in_float else self.with_passes(typed, candidate, own)
            except UnsupportedError as fault:
                refusals[part.name] = fault.message.rstrip(".")
                if len(refusals) == len(model.parts):
                    raise
            # A pass need not know of states: it describes the tensors of its graph.
            stateful = replace(typed.part, name=part.name, reads=part.reads, writes=part.writes)
            changed.append(replace(typed, parts=(stateful,), states=model.only(part.name).states))
        parts = tuple(self.compiled(each, candidate) for each in changed)
        # The precision is that of the parts that the passes changed.
        whole = next((each for each in changed if each.part.name not in refusals), changed[0])
        typed = replace(whole, parts=tuple(each.part for each in changed), states=model.states)
        if not several:
            return Compiled(typed, parts, parts[0].key)
        steps = [
            replace(step, config={**step.config, "part": each.part.name})
            for each in changed
            for step in each.steps[len(model.steps) :]
        ]
        typed = replace(typed, steps=(*model.steps, *steps))
        left = tuple(f"the part '{name}' stays as it was exported: {why}" for name, why in refusals.items())
        return Compiled(typed, parts, digest_of([part.key for part in parts]), left)

    def compiled(self, model: Model, candidate: PlannedCandidate) -> CompiledPart:
        """Compile a typed model of one part with the candidate's backend. Raises UnsupportedError or BuildError."""
        backend, target = registry.backend(candidate.backend), self.plan.target
        with blame.blamed(candidate.backend, "to check the model"):
            support = backend.supports(model, target)
        if not support.ok:
            raise UnsupportedError(
                "; ".join(support.problems),
                hint="change what is named in the model, or choose another backend (see `edgekit plugins`)",
            )
        options = dict(target.options.get(candidate.backend, {}))
        config = {
            "backend": registry.distribution("backend", candidate.backend),
            "versions": dict(backend.probe().versions),
            "code": [code_of(type(backend)), code_of(registry.pass_type("export"))],  # ours reads graphs for it
            "target": [target.name, target.device.to_dict(), target.to_dict()["shapes"], target.static_shapes_only],
            "options": options,
            "model": [model.digest, model.precision, [part.to_dict() for part in model.parts]],
        }

        key = digest_of(["build", config])

        def make(work: Path) -> Path | None:
            (work / "payload").mkdir()
            title = f"building {candidate.name}"
            with self.progress.step(title), blame.blamed(candidate.backend, blame.BUILDING):
                built = backend.build(model, target, options, work / "payload")
            (work / "built.json").write_text(json.dumps(built.to_dict()))
            if built.cacheable:
                return None
            self._passing[key] = work.rename(self.enter_context(cache.workdir("build")))
            return self._passing[key]

        folder = self._passing.get(key) or cache.fetch(key, "build", make)[0]
        built = Built.from_dict(json.loads((folder / "built.json").read_text()), "built.json")
        return CompiledPart(built.part or model.part, built, folder / "payload", key)

    def cached_step(self, step: str, key: Mapping[str, Any], kind: type, make: Callable[[Path], None]) -> Path:
        """Return the folder that `make` filled for this key, now or before, by the same code with the same packages."""
        folder, _ = cache.fetch(digest_of([step, dict(key), made_by(kind)]), step, make)
        return folder

    def cached_model(self, step: str, key: Mapping[str, Any], kind: type, make: Callable[[Path], Model]) -> Model:
        """Return the model that `make` wrote for this key, now or before."""

        def fill(work: Path) -> None:
            (work / "model").mkdir()
            make(work / "model").save()

        return Model.load(self.cached_step(step, key, kind, fill) / "model")


def made_by(kind: type) -> Mapping[str, Any]:
    """Return what decides what a pass or a source makes beside its input and its config: its code and the versions of
    the packages that it imports.
    """
    packages = kind.packages if isinstance(kind, (Pass, Source)) else ()
    return {"code": code_of(kind), "packages": _requirement.versions(("numpy", *packages))}


@functools.cache
def code_of(kind: type) -> str:
    """Digest the source files that a class of a plugin rests on: a changed plugin must not find its old results.

    Of a third party, those of its top package; of edgekit, the folder of the class and the heavy rooms, whose files
    work together.
    """
    file = Path(inspect.getfile(kind))
    top = file if not (file.parent / "__init__.py").is_file() else file.parent
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    folders = [file.parent, *(OURS / room for room in HEAVY_ROOMS)] if top == OURS else [top]
    files = {file, *(path for folder in folders for path in folder.rglob("*.py"))}
    return digest_of([[str(path.relative_to(top.parent)), digest_of_file(path)] for path in sorted(files)])
