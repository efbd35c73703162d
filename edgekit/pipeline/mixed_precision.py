"""Int8 where it pays: beside int8 as a whole and float as a whole, try the mix that leaves those layers in float that
int8 makes no faster.

Both are profiled on real input, layer by layer. The profiles only propose; each proposal is built and measured beside
the two, and the fastest enters the contest under a name of its own, where the gate judges it like any other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import bench, registry
from edgekit.errors import BuildError, EdgekitError, UnsupportedError
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.reference_outputs import Originals
from edgekit.model import Model
from edgekit.pipeline import bench_inputs, candidates, torch_passes
from edgekit.pipeline.builder import Build
from edgekit.pipeline.candidates import Tried
from edgekit.pipeline.layer_times import attribute, fastest
from edgekit.pipeline.plan import Plan, PlannedCandidate
from edgekit.pipeline.precision_search import Times, propose
from edgekit.pipeline.repair import before, leaving
from edgekit.plugin import Anatomy, LayerTime
from edgekit.recipe.recipe import PassConfig
from edgekit.result.report import LayerChoice, Mixed, MixedTrial
from edgekit.target import host

if TYPE_CHECKING:
    import numpy as np

SUFFIX = "-mixed"

NEAR = 2.0
"""A backend whose faster pure model takes more than this many times the best one's is left alone: no mix wins there."""

ROUNDS = 3
"""Profiles of each model, by turns."""

TRIAL = bench.Settings(
    min_seconds=0.4,
    min_count=16,
    max_seconds=4.0,
    round_ms=40.0,
    warmup_min_seconds=0.1,
    warmup_max_seconds=2.0,
    cold_start=False,
)
"""A short measurement, enough to tell which proposal is the best: the contest measures again."""


@dataclass(frozen=True)
class _Pair:
    """A quantized candidate and the same without its quantizing pass."""

    quantized: Tried
    in_float: Tried
    step: PassConfig


def wanted(made: Plan) -> bool:
    """Say whether mixes are to be tried: not where nothing can be measured that counts for the target."""
    timed = made.project.objective in ("latency", "throughput")  # float layers are larger: no mix is smaller than int8
    return made.project.mixed and made.project.bench and timed and not made.mismatches


def add(
    build: Build,
    model: Model,
    evaluation: Evaluation,
    originals: Originals,
    tried: Sequence[Tried],
) -> list[Tried]:
    """Give the candidates, the quantized ones with what their layers take, and the mixes that are worth measuring."""
    inputs = [t.compiled.built.inputs for t in tried]
    feeds, _ = bench_inputs.feeds(evaluation, build.plan.project.objective, inputs)
    profiled = [(pair, times) for pair in pairs(tried) if (times := _times(build, pair, model, evaluation, feeds))]
    best = min((times.pure_ms for _, times in profiled), default=0.0)
    found: dict[str, Mixed] = {}
    more: list[Tried] = []
    for pair, times in profiled:
        record, mix = _nothing(pair, times, f"its backend is {times.pure_ms / best:.1f}x as slow as the best"), None
        if times.pure_ms <= NEAR * best:
            record, mix = _contest(build, pair, times, model, evaluation, feeds)
        if mix is not None:
            try:
                added = candidates.attempt(build, mix, model, evaluation, originals)
                more += [replace(t, mixed=record) for t in added]
            except (UnsupportedError, BuildError) as fault:
                record = replace(record, note=f"the mix cannot be built: {fault.message}")
        found[pair.quantized.planned.name] = record
    return [replace(t, mixed=found.get(t.planned.name)) for t in tried] + more


def pairs(tried: Sequence[Tried]) -> list[_Pair]:
    """Find the quantized candidates that can leave layers in float, each with the same in float beside it.

    A recipe that names layers itself is left as it is: it repeats what was found before. Of several that differ in
    their ranges alone the first that passes the gate stands for all: they are equally fast.
    """
    found: dict[str, _Pair] = {}
    for t in sorted(tried, key=lambda t: not t.quality.ok):
        step = _mixable(t.planned)
        if step is None or t.planned.baseline or step.config.get("exclude"):
            continue
        rest = tuple(one for one in t.planned.recipe.passes if one is not step)
        for other in tried:
            if other.planned.backend == t.planned.backend and other.planned.recipe.passes == rest:
                found.setdefault(other.planned.name, _Pair(t, other, step))
    return list(found.values())


def _mixable(planned: PlannedCandidate) -> PassConfig | None:
    steps = planned.recipe.passes
    return next((step for step in steps if hasattr(registry.pass_type(step.name), "anatomy")), None)


def _times(
    build: Build, pair: _Pair, model: Model, evaluation: Evaluation, feeds: Mapping[str, np.ndarray]
) -> Times | None:
    """Profile both of a pair; None where there is one layer only, or a runtime does not tell."""
    start = torch_passes.graph(build, model, pair.quantized.planned, evaluation)
    anatomy = _anatomy(build, pair, start, evaluation)
    if len(anatomy.layers) < 2:
        return None
    try:
        in_float, in_int8 = _profiles(build, pair, evaluation, feeds)
    except EdgekitError as fault:  # what cannot be profiled is still measured and judged as a whole
        build.progress.note(f"{pair.quantized.planned.name}: no layer times: {fault.message}")
        return None
    return Times.of(anatomy, attribute(anatomy, in_float), attribute(anatomy, in_int8))


def _anatomy(build: Build, pair: _Pair, model: Model, evaluation: Evaluation) -> Anatomy:
    """Ask the pass for its layers, once for all candidates whose recipes begin alike."""
    planned, step = pair.quantized.planned, pair.step
    start = build.with_passes(model, before(planned, step), evaluation.feeds)
    kind = registry.pass_type(step.name)
    instance: Any = kind.from_dict(step.config, f"recipe '{planned.recipe.name}', pass '{step.name}'")  # type: ignore[attr-defined]

    def make(work: Path) -> None:
        (work / "anatomy.json").write_text(json.dumps(instance.anatomy(start, work).to_dict()))

    folder = build.cached_step("anatomy", {"config": instance.to_dict(), "input": start.digest}, kind, make)
    return Anatomy.from_dict(json.loads((folder / "anatomy.json").read_text()))


def _profiles(
    build: Build, pair: _Pair, evaluation: Evaluation, feeds: Mapping[str, np.ndarray]
) -> tuple[tuple[LayerTime, ...], ...]:
    """Give the least time of each kernel of both over a few profiles, taken by turns in processes of their own.

    They are kept as a step: an export that is killed and goes on proposes the same.
    """
    both = (pair.in_float, pair.quantized)
    machine = host.probe()
    key = {
        "payloads": [t.compiled.key for t in both],
        "feeds": [evaluation.samples.digest, evaluation.task.config.to_dict(), build.plan.project.objective],
        "machine": [machine.cpu, machine.cores],
        "rounds": ROUNDS,
    }
    backend = registry.backend(pair.quantized.planned.backend)

    def make(work: Path) -> None:
        title = f"timing the layers of {pair.quantized.planned.name}"
        with bench.Worker(backend.name) as one, bench.Worker(backend.name) as other:
            workers, taken = (one, other), ([], [])  # type: tuple[bench.Worker, ...], tuple[list[Any], ...]
            with build.progress.step(title, len(both) * ROUNDS) as tick:
                for worker, t in zip(workers, both, strict=True):
                    worker.open(t.compiled.payload, feeds)
                    worker.pause()
                for _ in range(ROUNDS):
                    for worker, profiles in zip(workers, taken, strict=True):
                        worker.resume()
                        profiles.append(worker.profile(feeds))
                        worker.pause()
                        tick()
        found = [[kernel.to_dict() for kernel in fastest(profiles)] for profiles in taken]
        (work / "profiles.json").write_text(json.dumps(found))

    folder = build.cached_step("profile", key, type(backend), make)
    profiles = json.loads((folder / "profiles.json").read_text())
    return tuple(tuple(LayerTime.from_dict(kernel) for kernel in profile) for profile in profiles)


def _contest(
    build: Build,
    pair: _Pair,
    times: Times,
    model: Model,
    evaluation: Evaluation,
    feeds: Mapping[str, np.ndarray],
) -> tuple[Mixed, PlannedCandidate | None]:
    """Build what is proposed and measure it beside both pure models; give the fastest where it beats them."""
    plain = pair.quantized.planned
    start = torch_passes.graph(build, model, plain, evaluation)
    compiled = {}
    for names in propose(times):
        mix = leaving(plain, pair.step, [layer.name for layer in times.layers if layer.name in names], SUFFIX)
        build.progress.note(f"{plain.name}: trying {len(names)} of {len(times.layers)} layers in float, for speed")
        try:
            typed = build.with_passes(start, mix, evaluation.feeds)
            compiled[names] = mix, build.compiled(typed, mix, build.plan.target)
        except (UnsupportedError, BuildError) as fault:
            build.progress.note(f"{mix.name}: {fault.message}")
    if not compiled:
        return _nothing(pair, times, "no mix promises to be faster than both"), None
    backend = plain.backend
    entries = [bench.Entry(t.planned.name, backend, t.compiled.payload, feeds) for t in (pair.in_float, pair.quantized)]
    entries += [
        bench.Entry(f"{mix.name}, {place}", backend, one.payload, feeds)
        for place, (mix, one) in enumerate(compiled.values())
    ]
    measured = [_p50_ms(outcome) for outcome in bench.benchmark(entries, TRIAL, build.progress)]
    (float_ms, int8_ms), mixed_ms = measured[:2], dict(zip(compiled, measured[2:], strict=True))
    reached = {names: p50_ms for names, p50_ms in mixed_ms.items() if p50_ms is not None}
    trials = tuple(MixedTrial(len(names), p50_ms) for names, p50_ms in reached.items())
    record = replace(_nothing(pair, times, ""), float_ms=float_ms, int8_ms=int8_ms, trials=trials)
    best = min(reached, key=lambda names: reached[names], default=None)
    pure = [p50_ms for p50_ms in (float_ms, int8_ms) if p50_ms is not None]
    if best is None or (pure and reached[best] >= min(pure)):
        return replace(record, note="no mix was faster than both"), None
    return replace(record, layers=_choices(times, best)), compiled[best][0]


def _p50_ms(outcome: bench.Outcome) -> float | None:
    measured = outcome.measurement
    return measured.percentiles_ms.get("p50", measured.mean_ms) if measured else None


def _nothing(pair: _Pair, times: Times, why: str) -> Mixed:
    return Mixed(_choices(times, ()), pair.in_float.planned.name, note=why)


def _choices(times: Times, in_float: Collection[str]) -> tuple[LayerChoice, ...]:
    return tuple(
        LayerChoice(
            name=layer.name,
            kind=layer.kind,
            float_ms=times.float_ms.get(layer.name),
            int8_ms=times.int8_ms.get(layer.name),
            in_float=layer.name in in_float,
        )
        for layer in times.layers
    )
