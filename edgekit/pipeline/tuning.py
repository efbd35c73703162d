"""Tune the shipped candidate's runtime options by measurement: threads, spinning, hints, whatever its backend offers.

Every variant is measured briefly beside the default; the best of them is measured again, interleaved with the default,
and taken if it is faster beyond the noise, computes the same and keeps the gate and the budgets. What a user set in the
target's file is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit import bench, registry
from edgekit._record import digest_of
from edgekit.errors import EdgekitError
from edgekit.evaluation.deviation import Deviation
from edgekit.pipeline import bench_inputs, blame, candidates
from edgekit.pipeline.budget import excesses
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.compiled import Compiled
from edgekit.pipeline.export import Export
from edgekit.pipeline.objective import GOALS, TIE, measured, tied
from edgekit.pipeline.plan import Plan
from edgekit.plugin import Tunable
from edgekit.project import Objective
from edgekit.result.report import Tuning, Variant
from edgekit.target import host

DEFAULT = "default"

LOOK_S = 0.25
"""Timed seconds of a variant in the first look at all of them; so many are tried as make up the time of a candidate."""

NOT_FASTEST = "faster, but not the fastest of those tried"
UNCONFIRMED = "faster in a short look, not measured at length"

CONFIRMED = 2
"""So many of the fastest in the short look are measured at length, one after the other, until one is confirmed."""

SAMPLES = 8
"""Samples on which outputs must be those of the default options."""

ROUNDING = 1e-3
"""Relative L2 difference that another order of sums may make; where the candidate itself differs by more from the
original, as much as that: a sum that is rounded the other way moves an int8 value by a whole step.
"""


def tune(export: Export, shipped: BuiltCandidate) -> tuple[BuiltCandidate, Tuning | None]:
    """Return the candidate with the best options, and what was tried; None where nothing could be.

    Takes about as long as measuring one candidate, once for all variants and once more for the best.
    """
    project = export.plan.project
    if not project.tune or shipped.measurement is None:
        return shipped, None
    changes = variants(export.plan, shipped)[: int(project.bench_seconds / LOOK_S)]
    if not changes:
        return shipped, None
    looked, noise = _look(export, shipped, changes)
    gains = [variant for variant in looked if variant.speed is not None and variant.speed > 1 + TIE]
    tries = {str(variant): variant for variant in looked}
    tuned: BuiltCandidate | None = None
    # The short look is easily wrong about which is the best: where that one fails, the next is measured at length too.
    for variant in sorted(gains, key=lambda variant: -(variant.speed or 0.0))[:CONFIRMED]:
        confirmed, tuned, more = _confirm(export, shipped, variant)
        tries[str(variant)] = confirmed
        noise = tuple(dict.fromkeys((*noise, *more)))
        if tuned is not None:
            break
    if tuned is None:
        left = [variant for variant in tries.values() if variant.reason == NOT_FASTEST]
        tries |= {str(variant): replace(variant, reason=UNCONFIRMED) for variant in left}
    if noise:
        export.progress.note(f"tuning {shipped.name}: the machine is busy: {'; '.join(noise)}")
    return tuned or shipped, Tuning(tuple(tries.values()), shipped.measurement, noise)


def variants(plan: Plan, shipped: BuiltCandidate) -> list[Mapping[str, Any]]:
    """Return the changes of options that the backend offers for this machine, without those that the target's file
    sets.
    """
    backend = registry.backend(shipped.planned.backend)
    if not isinstance(backend, Tunable):
        return []
    payload = shipped.compiled.program.payloads[0]
    fixed = plan.target.options.get(shipped.planned.backend, {})
    return [
        change
        for change in backend.variants(payload, host.probe().cores)
        if not set(change) & set(fixed) and any(payload.options.get(key) != value for key, value in change.items())
    ]


def _look(
    export: Export, shipped: BuiltCandidate, changes: Sequence[Mapping[str, Any]]
) -> tuple[list[Variant], tuple[str, ...]]:
    """Measure every variant briefly beside the default options; return them, and what disturbed the machine."""
    tries = [Variant(dict(change), None, "") for change in changes]
    export.progress.note(f"tuning {shipped.name}: {'; '.join(map(str, tries))}")
    settings = bench.Settings(
        min_seconds=LOOK_S,
        min_count=bench.LEAST_PAIRS,
        max_seconds=4 * LOOK_S,
        round_ms=1e3 * LOOK_S / bench_inputs.ROUNDS,
        warmup_min_seconds=0.1,
        warmup_max_seconds=1.0,
    )
    default, *outcomes = _timed(export, shipped, tries, settings)
    looked = [_compared(variant, outcome, default) for variant, outcome in zip(tries, outcomes, strict=True)]
    return looked, _noise([default, *outcomes])


def _noise(outcomes: Sequence[bench.Outcome]) -> tuple[str, ...]:
    """Return what other work did to the machine while it measured, each reason once."""
    runs = [outcome.measurement.noise for outcome in outcomes if outcome.measurement]
    worst = max(runs, key=lambda noise: noise.foreign_cpu_share or 0.0, default=None)
    noisy = next((noise for noise in runs if noise.noisy), None)
    if worst is not None and worst.noisy:
        return worst.reasons
    return noisy.reasons if noisy else ()


def _confirm(
    export: Export, shipped: BuiltCandidate, best: Variant
) -> tuple[Variant, BuiltCandidate | None, tuple[str, ...]]:
    """Measure a variant at length; return it as a candidate where it keeps what it promised, and the noise."""
    settings = bench_inputs.settings(export.plan.project.bench_seconds)
    default, outcome = _timed(export, shipped, [best], settings)
    return *_confirmed(export, shipped, best, default, outcome), _noise([default, outcome])


def _confirmed(
    export: Export, shipped: BuiltCandidate, best: Variant, default: bench.Outcome, outcome: bench.Outcome
) -> tuple[Variant, BuiltCandidate | None]:
    again = _compared(best, outcome, default)
    if again.speed is None or again.speed <= 1 + TIE or bench.faster(outcome, default).verdict != "faster":
        return replace(again, reason=again.reason if again.speed is None else "no gain beyond the noise"), None
    compiled = _compiled(shipped.compiled, best)
    try:
        if why := _differs(export, shipped, compiled):
            return replace(again, reason=why), None
        tuned = candidates.judge(export, shipped.planned, compiled)
    except EdgekitError as error:
        return replace(again, reason=f"it does not run: {error.message}"), None
    named = bench_inputs.with_raw_file(replace(outcome, name=shipped.name))
    tuned = replace(tuned, outcome=named, repair=shipped.repair)
    if why := _breaks(export.plan, tuned, replace(shipped, outcome=default)):
        return replace(again, reason=why), None
    return replace(again, reason="faster beyond the noise, and the same outputs", taken=True), tuned


def _timed(
    export: Export, shipped: BuiltCandidate, several: Sequence[Variant], settings: bench.Settings
) -> list[bench.Outcome]:
    """Measure the default options and others interleaved, on what the candidates were measured on."""
    compiled = shipped.compiled
    batched = shipped.measurement is not None and shipped.measurement.batch > 1  # one fixed batch means none is batched
    objective: Objective = "throughput" if batched else "latency"
    feeds, batch = bench_inputs.feeds(export, [compiled.inputs], objective)
    programs = {DEFAULT: compiled.program, **{str(each): _compiled(compiled, each).program for each in several}}
    entries = [bench.Entry(name, shipped.planned.backend, program, feeds, batch) for name, program in programs.items()]
    return bench.benchmark(entries, settings, export.progress)


def _compiled(compiled: Compiled, variant: Variant) -> Compiled:
    parts = tuple(
        replace(each, built=replace(each.built, options={**each.built.options, **variant.options}))
        for each in compiled.parts
    )
    options = [dict(each.built.options) for each in parts]
    return replace(compiled, parts=parts, key=digest_of([compiled.key, *options]))


def _compared(variant: Variant, outcome: bench.Outcome, default: bench.Outcome) -> Variant:
    if fault := outcome.fault or default.fault:
        return replace(variant, speed=None, reason=f"it could not be measured: {fault.message}")
    speed = bench.faster(outcome, default).ratio
    return replace(variant, speed=speed, reason=NOT_FASTEST if speed > 1 + TIE else "no gain")


def _differs(export: Export, shipped: BuiltCandidate, compiled: Compiled) -> str:
    """Return how far the outputs are from those of the default options; empty where it is rounding."""
    backend, deviation = blame.guarded(shipped.planned.backend), Deviation()
    with (
        shipped.compiled.program.open(backend) as default,
        compiled.program.open(backend) as other,
    ):
        for index in range(min(SAMPLES, len(export.reference))):
            trace = [inference.call for inference in export.reference[index]]
            for expected, outputs in zip(default.replay(trace), other.replay(trace), strict=True):
                deviation.add(expected, outputs)
    known = shipped.quality.outputs
    for before, part in zip(known, deviation.parts(known), strict=True):
        limit = max(ROUNDING, before.rel_l2)
        if part.rel_l2 > limit or not deviation.finite:
            where = f" in '{part.name}'" if len(known) > 1 else ""
            return (
                f"its outputs are not those of the default options: relative L2 {part.rel_l2:.1e}{where}, "
                f"at most {limit:.1e}"
            )
    return ""


def _breaks(plan: Plan, tuned: BuiltCandidate, default: BuiltCandidate) -> str:
    """Return which gate, budget or objective the options break that the default keeps; empty where none."""
    objective = plan.project.objective
    broken = [check.meaning for check in tuned.quality.checks if not check.passed]
    broken += map(str, excesses(plan, tuned.compiled.size_mb, tuned.measurement))
    goal = GOALS[objective]
    if not goal.timed and len(measured([tuned, default], objective)) == 2 and not tied(tuned, default, objective):
        broken.append(f"more than {TIE:.0%} above {goal.cost_of} the default options")
    return "; ".join(broken)
