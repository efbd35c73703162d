"""Build a Measurement from the rounds of one model, the answers of its process, and the sensors' readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.bench import sustained
from edgekit.bench.outcome import Entry, Round, Settings, summarise
from edgekit.bench.percentile import nearest_rank
from edgekit.plugin import Precision
from edgekit.result.generation_times import GenerationTimes
from edgekit.result.measurement import ColdStart, EndToEnd, Measurement, Noise, Pace
from edgekit.sensors.sampler import Sampler

if TYPE_CHECKING:
    import numpy as np


def measurement(
    entry: Entry,
    settings: Settings,
    rounds: Sequence[Round],
    latencies_ns: np.ndarray,
    *,
    opened: Mapping[str, Any],
    warmed: Mapping[str, Any],
    noise: Noise,
    memory_mb: float | None,
    precision: Precision | None,
    pace: Pace | None,
    end_to_end: EndToEnd | None,
    generation: GenerationTimes | None,
    sampler: Sampler | None,
) -> Measurement:
    """Return the measurement of one model; `opened` and `warmed` are the answers of `Worker.open` and `Worker.warm`."""
    totals = summarise(latencies_ns, rounds)
    regions = [(timed.began_s, timed.began_s + timed.seconds) for timed in rounds]
    throttle = sampler.throttle() if sampler else None
    windows = None
    if settings.scenario == "sustained":
        windows = sustained.summarise(rounds, latencies_ns, sampler)
        throttle = sustained.judge(windows, rounds, throttle)
    energy = sampler.energy(regions, totals.count) if sampler else None
    return Measurement(
        scenario="offline" if entry.batch > 1 else settings.scenario,
        warmup_count=int(warmed["count"]),
        converged=bool(warmed["converged"]),
        count=totals.count,
        seconds=totals.seconds,
        percentiles_ms=totals.percentiles_ms,
        mean_ms=totals.mean_ms,
        throughput_per_s=totals.throughput_per_s * entry.batch,
        peak_memory_mb=memory_mb,
        cold_start=ColdStart.from_dict(opened["cold_start"]) if settings.cold_start else None,
        noise=noise,
        shapes={name: tuple(shape) for name, shape in opened["shapes"].items()},
        threads=opened["threads"],
        precision=precision,
        energy_j=energy.per_inference_j if energy else None,
        energy_reason=energy.reason if energy else "no power sensor was read",
        batch=entry.batch,
        energy_rail=energy.rail if energy else None,
        streams=settings.streams,
        sensors=sampler.sensors(regions) if sampler else None,
        throttle=throttle,
        pace=pace,
        sustained=windows,
        end_to_end=end_to_end,
        generation=generation,
    )


def pace(settings: Settings, latencies_ns: np.ndarray, service_ns: np.ndarray, left: int) -> Pace | None:
    """Return whether the model kept up with the schedule; None for a scenario without one.

    The `left` arrivals that were never run count as missed.
    """
    import numpy as np

    if settings.rate_per_s is None:
        return None
    period_ms = 1e3 / settings.rate_per_s
    deadline_ms = settings.deadline_ms or period_ms
    return Pace(
        rate_per_s=settings.rate_per_s,
        deadline_ms=deadline_ms,
        missed=int((latencies_ns > deadline_ms * 1e6).sum()) + left,
        busy_share=float(service_ns.mean()) / 1e6 / period_ms,
        service_p50_ms=nearest_rank(np.sort(service_ns), 500) / 1e6,
    )
