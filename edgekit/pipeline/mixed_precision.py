"""Mixed precision: beside int8 as a whole and float as a whole, try the mix that leaves those layers in float that int8
makes no faster.

Both are profiled on real input, layer by layer. The profiles only propose; each proposal is built and measured beside
the two, and the fastest enters the contest under a name of its own, where the gate judges it like any other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import bench, registry
from edgekit.errors import BuildError, EdgekitError, UnsupportedError
from edgekit.pipeline import bench_inputs, candidates, recipe_passes, torch_passes
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.compiled import Compiled
from edgekit.pipeline.export import Export
from edgekit.pipeline.layer_times import attribute, fastest
from edgekit.pipeline.plan import Plan, PlannedCandidate
from edgekit.pipeline.precision_search import Times, propose
from edgekit.pipeline.repair import before, excluding
from edgekit.plugin import LayerMap, LayerTime, Mixable
from edgekit.recipe.recipe import PassConfig
from edgekit.result.report import LayerChoice, Mixed, MixedTrial
from edgekit.runner import Fed
from edgekit.target import host

if TYPE_CHECKING:
    pass

SUFFIX = "-mixed"

NEAR = 2.0
"""A backend whose faster pure model takes more than this many times the best one's is left alone: no mix wins there."""

ROUNDS = 3
"""Profiles of each model, interleaved."""

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

    quantized: BuiltCandidate
    in_float: BuiltCandidate
    step: PassConfig


def add_mixes(export: Export, built: Sequence[BuiltCandidate]) -> list[BuiltCandidate]:
    """Return the candidates, the quantized ones with the times of their layers, and the mixes that are worth measuring.

    Nothing is added where the project wants no mixes, or nothing can be measured that counts for the target.
    """
    if not wanted(export.plan) or not export.model.is_single:
        return list(built)
    feeds, _ = bench_inputs.feeds(export, [candidate.compiled.inputs for candidate in built])
    profiled = [(pair, times) for pair in pairs(built) if (times := _times(export, pair, feeds))]
    best = min((times.pure_ms for _, times in profiled), default=0.0)
    records: dict[str, Mixed] = {}
    added: list[BuiltCandidate] = []
    for pair, times in profiled:
        record, mix = _nothing(pair, times, f"its backend is {times.pure_ms / best:.1f}x as slow as the best"), None
        if times.pure_ms <= NEAR * best:
            record, mix = _contest(export, pair, times, feeds)
        if mix is not None:
            try:
                added += [replace(candidate, mixed=record) for candidate in candidates.attempt(export, mix)]
            except (UnsupportedError, BuildError) as fault:
                record = replace(record, note=f"the mix cannot be built: {fault.message}")
        records[pair.quantized.name] = record
    return [replace(candidate, mixed=records.get(candidate.name)) for candidate in built] + added


def wanted(plan: Plan) -> bool:
    """Return whether mixes are to be tried: not where nothing can be measured that counts for the target."""
    timed = plan.project.objective in ("latency", "throughput")  # float layers are larger: no mix is smaller than int8
    return plan.project.mixed and plan.project.bench and timed and not plan.mismatches


def pairs(built: Sequence[BuiltCandidate]) -> list[_Pair]:
    """Return the quantized candidates that can leave layers in float, each with the same in float beside it.

    A recipe that names layers itself is left as it is: it repeats what was chosen before. Of several that differ in
    their ranges alone the first that passes the gate stands for all: they are equally fast.
    """
    by_float: dict[str, _Pair] = {}
    for candidate in sorted(built, key=lambda each: not each.quality.ok):
        step = _mixable(candidate.planned)
        if step is None or candidate.planned.baseline or step.config.get("exclude"):
            continue
        rest = tuple(each for each in candidate.planned.recipe.passes if each is not step)
        for other in built:
            if other.planned.backend == candidate.planned.backend and other.planned.recipe.passes == rest:
                by_float.setdefault(other.planned.name, _Pair(candidate, other, step))
    return list(by_float.values())


def _mixable(planned: PlannedCandidate) -> PassConfig | None:
    steps = planned.recipe.passes
    return next((step for step in steps if issubclass(registry.pass_type(step.name), Mixable)), None)


def _times(export: Export, pair: _Pair, feeds: Fed) -> Times | None:
    """Profile both of a pair; None where there is one layer only, or a runtime gives no layer times."""
    try:
        layer_map = _layer_map(export, pair)
        if len(layer_map.layers) < 2:
            return None
        in_float, in_int8 = _profiles(export, pair, feeds)
    except EdgekitError as fault:  # what cannot be profiled is still measured and judged as a whole
        export.progress.note(f"{pair.quantized.name}: no layer times: {fault.message}")
        return None
    return Times.of(layer_map, attribute(layer_map, in_float), attribute(layer_map, in_int8))


def _layer_map(export: Export, pair: _Pair) -> LayerMap:
    """Ask the pass for its layers, once for all candidates whose recipes begin alike."""
    planned, step, builder = pair.quantized.planned, pair.step, export.builder
    start = torch_passes.graph(export, planned)
    start = builder.with_passes(start, before(planned, step), export.evaluation.feeds)
    instance: Any = recipe_passes.configured(step, planned.recipe)

    def make(work: Path) -> None:
        (work / "layer_map.json").write_text(json.dumps(instance.layer_map(start, work).to_dict()))

    key = {"config": instance.to_dict(), "input": start.digest}
    folder = builder.cached_step("layer_map", key, type(instance), make)
    return LayerMap.from_dict(json.loads((folder / "layer_map.json").read_text()))


def _profiles(export: Export, pair: _Pair, feeds: Fed) -> tuple[tuple[LayerTime, ...], ...]:
    """Return the least time of each kernel of both over a few profiles, interleaved in processes of their own.

    They are kept as a step: an export that is killed and resumed proposes the same.
    """
    both = (pair.in_float, pair.quantized)
    machine = host.probe()
    key = {
        "payloads": [candidate.compiled.key for candidate in both],
        "feeds": [*export.data_key[1:], export.plan.project.objective],
        "machine": [machine.cpu, machine.cores],
        "rounds": ROUNDS,
    }
    backend = registry.backend(pair.quantized.planned.backend)

    def make(work: Path) -> None:
        title = f"timing the layers of {pair.quantized.name}"
        with bench.Worker(backend.name) as first, bench.Worker(backend.name) as second:
            workers, taken = (first, second), ([], [])  # type: tuple[bench.Worker, ...], tuple[list[Any], ...]
            with export.progress.step(title, len(both) * ROUNDS) as tick:
                for worker, candidate in zip(workers, both, strict=True):
                    worker.open(candidate.compiled.program, feeds)
                    worker.pause()
                for _ in range(ROUNDS):
                    for worker, profiles in zip(workers, taken, strict=True):
                        worker.resume()
                        profiles.append(worker.profile(feeds))
                        worker.pause()
                        tick()
        least = [[kernel.to_dict() for kernel in fastest(profiles)] for profiles in taken]
        (work / "profiles.json").write_text(json.dumps(least))

    folder = export.builder.cached_step("profile", key, type(backend), make)
    profiles = json.loads((folder / "profiles.json").read_text())
    return tuple(tuple(LayerTime.from_dict(kernel) for kernel in profile) for profile in profiles)


def _contest(export: Export, pair: _Pair, times: Times, feeds: Fed) -> tuple[Mixed, PlannedCandidate | None]:
    """Build what is proposed and measure it beside both pure models; return the fastest where it beats them."""
    mixes = _built_mixes(export, pair, times)
    if not mixes:
        return _nothing(pair, times, "no mix promises to be faster than both"), None
    entries = [candidate.entry(candidate.name, feeds) for candidate in (pair.in_float, pair.quantized)]
    entries += [
        bench.Entry(f"{mix.name}, {place}", mix.backend, compiled.program, feeds)
        for place, (mix, compiled) in enumerate(mixes.values())
    ]
    p50_ms = [_p50_ms(outcome) for outcome in bench.benchmark(entries, TRIAL, export.progress)]
    (float_ms, int8_ms), mixed_ms = p50_ms[:2], dict(zip(mixes, p50_ms[2:], strict=True))
    reached = {names: time_ms for names, time_ms in mixed_ms.items() if time_ms is not None}
    trials = tuple(MixedTrial(len(names), time_ms) for names, time_ms in reached.items())
    record = replace(_nothing(pair, times, ""), float_ms=float_ms, int8_ms=int8_ms, trials=trials)
    best = min(reached, key=lambda names: reached[names], default=None)
    pure = [time_ms for time_ms in (float_ms, int8_ms) if time_ms is not None]
    if best is None or (pure and reached[best] >= min(pure)):
        return replace(record, note="no mix was faster than both"), None
    return replace(record, layers=_choices(times, best)), mixes[best][0]


def _built_mixes(export: Export, pair: _Pair, times: Times) -> dict[Any, tuple[PlannedCandidate, Compiled]]:
    """Build what the times propose; by the names of the layers in float."""
    plain = pair.quantized.planned
    start = torch_passes.graph(export, plain)
    mixes = {}
    for names in propose(times):
        mix = excluding(plain, pair.step, [layer.name for layer in times.layers if layer.name in names], SUFFIX)
        export.progress.note(f"{plain.name}: trying {len(names)} of {len(times.layers)} layers in float, for speed")
        try:
            mixes[names] = mix, export.builder.build(start, mix, export.evaluation.feeds)
        except (UnsupportedError, BuildError) as fault:
            export.progress.note(f"{mix.name}: {fault.message}")
    return mixes


def _p50_ms(outcome: bench.Outcome) -> float | None:
    return outcome.measurement.p50_ms if outcome.measurement else None


def _nothing(pair: _Pair, times: Times, why: str) -> Mixed:
    return Mixed(_choices(times, ()), pair.in_float.name, note=why)


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
