"""Tune the shipped candidate's runtime options by measurement: threads, spinning, hints, whatever its backend offers.

Every variant gets a short turn beside the default; the best of them is measured again, by turns with the default, and
taken if it is faster beyond the noise, computes the same and keeps the gate and the budgets. What a user set in the
target's file is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekit import bench, registry
from edgekit._record import digest_of
from edgekit.errors import EdgekitError
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.gate import Deviation
from edgekit.pipeline import bench_inputs
from edgekit.pipeline.budget import excesses
from edgekit.pipeline.builder import Compiled
from edgekit.pipeline.candidates import Tried
from edgekit.pipeline.objective import GOALS, TIE, able, tied
from edgekit.pipeline.plan import Plan
from edgekit.plugin import Payload
from edgekit.progress import Progress
from edgekit.result.report import Tuning, Variant
from edgekit.target import host

DEFAULT = "default"

TURN_S = 0.25
"""Timed seconds of a variant in the first look at all of them; so many are tried as make up the time of a candidate."""

LESSER = "faster, but not the fastest of those tried"

SAMPLES = 8
"""Samples on which outputs must be those of the default options."""

ROUNDING = 1e-3
"""Relative L2 difference that another order of sums may make; where the candidate itself differs by more from the
original, as much as that: a sum that is rounded the other way moves an int8 value by a whole step.
"""


@dataclass(frozen=True)
class Subject:
    """The candidate that ships, and what its variants are held against."""

    plan: Plan
    shipped: Tried
    evaluation: Evaluation
    judge: Callable[[Compiled], Tried]
    """Hold a payload with other options against the original and the gate."""
    progress: Progress


def tune(subject: Subject) -> tuple[Tried, Tuning | None]:
    """Give the candidate with the best options, and what was tried; None where nothing could be.

    Takes about as long as measuring one candidate, once for all variants and once more for the best.
    """
    project, shipped = subject.plan.project, subject.shipped
    if not project.tune or shipped.measurement is None:
        return shipped, None
    changes = variants(subject.plan, shipped)[: int(project.bench_seconds / TURN_S)]
    if not changes:
        return shipped, None
    looked = _look(subject, changes)
    gains = [variant for variant in looked if variant.speed is not None and variant.speed > 1 + TIE]
    if not gains:
        return shipped, Tuning(tuple(looked), shipped.measurement)
    best = max(gains, key=lambda variant: variant.speed or 0.0)
    confirmed, made = _confirm(subject, best)
    tries = tuple(confirmed if variant is best else variant for variant in looked)
    return made or shipped, Tuning(tries, shipped.measurement)


def variants(made: Plan, shipped: Tried) -> list[Mapping[str, Any]]:
    """Give the changes of options that the backend offers for this machine, without those that the target's file
    sets.
    """
    offer = getattr(registry.backend(shipped.planned.backend), "variants", None)
    if offer is None:
        return []
    payload = shipped.compiled.payload
    fixed = made.target.options.get(shipped.planned.backend, {})
    offered: tuple[Mapping[str, Any], ...] = offer(payload, host.probe().cores)
    return [
        change
        for change in offered
        if not set(change) & set(fixed) and any(payload.options.get(key) != value for key, value in change.items())
    ]


def _look(subject: Subject, changes: Sequence[Mapping[str, Any]]) -> list[Variant]:
    """Give every variant a short turn beside the default options."""
    tries = [Variant(dict(change), None, "") for change in changes]
    subject.progress.note(f"tuning {subject.shipped.planned.name}: {'; '.join(map(str, tries))}")
    settings = bench.Settings(
        min_seconds=TURN_S,
        min_count=bench.LEAST_PAIRS,
        max_seconds=4 * TURN_S,
        round_ms=1e3 * TURN_S / bench_inputs.ROUNDS,
        warmup_min_seconds=0.1,
        warmup_max_seconds=1.0,
    )
    default, *outcomes = _timed(subject, tries, settings)
    return [_compared(variant, found, default) for variant, found in zip(tries, outcomes, strict=True)]


def _confirm(subject: Subject, best: Variant) -> tuple[Variant, Tried | None]:
    """Measure the best variant at length, and give it as a candidate where it holds what it promised."""
    default, found = _timed(subject, [best], bench_inputs.settings(subject.plan.project.bench_seconds))
    again = _compared(best, found, default)
    if again.speed is None or again.speed <= 1 + TIE or bench.faster(found, default).verdict != "faster":
        return replace(again, reason=again.reason if again.speed is None else "no gain beyond the noise"), None
    shipped = subject.shipped
    compiled = _compiled(shipped.compiled, best)
    try:
        if why := _differs(subject, compiled.payload):
            return replace(again, reason=why), None
        made = subject.judge(compiled)
    except EdgekitError as error:
        return replace(again, reason=f"it does not run: {error.message}"), None
    named = bench_inputs.with_raw_file(replace(found, name=shipped.planned.name))
    made = replace(made, outcome=named, repair=shipped.repair)
    if why := _breaks(subject, made, replace(shipped, outcome=default)):
        return replace(again, reason=why), None
    return replace(again, reason="faster beyond the noise, and the same outputs", taken=True), made


def _timed(subject: Subject, several: Sequence[Variant], settings: bench.Settings) -> list[bench.Outcome]:
    """Measure the default options and others by turns, on what the candidates were measured on."""
    compiled, backend = subject.shipped.compiled, subject.shipped.planned.backend
    measured = subject.shipped.measurement
    batched = measured is not None and measured.batch > 1  # where one graph has a fixed batch, none was batched
    feeds, batch = bench_inputs.feeds(
        subject.evaluation, "throughput" if batched else "latency", [compiled.built.inputs]
    )
    payloads = {DEFAULT: compiled.payload, **{str(one): _compiled(compiled, one).payload for one in several}}
    entries = [bench.Entry(name, backend, payload, feeds, batch) for name, payload in payloads.items()]
    return bench.benchmark(entries, settings, subject.progress)


def _compiled(compiled: Compiled, variant: Variant) -> Compiled:
    built = replace(compiled.built, options={**compiled.built.options, **variant.options})
    return replace(compiled, built=built, key=digest_of([compiled.key, dict(built.options)]))


def _compared(variant: Variant, found: bench.Outcome, default: bench.Outcome) -> Variant:
    if fault := found.fault or default.fault:
        return replace(variant, speed=None, reason=f"it could not be measured: {fault.message}")
    speed = bench.faster(found, default).ratio
    return replace(variant, speed=speed, reason=LESSER if speed > 1 + TIE else "no gain")


def _differs(subject: Subject, payload: Payload) -> str:
    """Say how far the outputs are from those of the default options; empty where it is rounding."""
    shipped, evaluation = subject.shipped, subject.evaluation
    backend, deviation = registry.backend(shipped.planned.backend), Deviation()
    with backend.open(shipped.compiled.payload) as default, backend.open(payload) as other:
        for index in range(min(SAMPLES, len(evaluation.samples))):
            for feeds in evaluation.task.feeds(evaluation.samples[index]):
                deviation.add(default.run(feeds), other.run(feeds))
    limit = max(ROUNDING, shipped.quality.rel_l2)
    if deviation.rel_l2 <= limit:
        return ""
    return f"its outputs are not those of the default options: relative L2 {deviation.rel_l2:.1e}, at most {limit:.1e}"


def _breaks(subject: Subject, made: Tried, default: Tried) -> str:
    """Say which gate, budget or objective the options break that the default keeps; empty where none."""
    goal = subject.plan.project.objective
    broken = [check.meaning for check in made.quality.checks if not check.passed]
    broken += map(str, excesses(subject.plan, made.compiled.size_mb, made.measurement))
    if not GOALS[goal].timed and len(able([made, default], goal)) == 2 and not tied(made, default, goal):
        broken.append(f"more than {TIE:.0%} above {GOALS[goal].cost_of} the default options")
    return "; ".join(broken)
