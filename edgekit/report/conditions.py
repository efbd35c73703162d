"""The conditions of a measurement, in words: energy, heat, clocks, throttling, deadlines."""

from __future__ import annotations

from edgekit.report.figures import clean, ms, significant
from edgekit.result.generation_times import GenerationTimes
from edgekit.result.measurement import UNITS, EndToEnd, Measurement, Pace, Quantity, Sensors, Sustained, Throttle

Line = tuple[str, str, bool]
"""The subject, the words, and whether they are a warning."""


def lines(measured: Measurement) -> tuple[Line, ...]:
    """Return what is known besides the latencies; nothing for a measurement without sensors and scenario."""
    lines: list[Line] = []
    if measured.generation:
        lines.append(("generation", generation(measured.generation), False))
    if measured.end_to_end:
        lines.append(("end to end", end_to_end(measured.end_to_end), False))
    if measured.pace:
        late = measured.pace.overloaded or measured.pace.missed > 0
        lines.append(("pace", pace(measured.pace, measured.count), late))
    if measured.sustained:
        lines.append(("over time", sustained(measured.sustained), False))
    if measured.throttle:
        lines.append(("throttling", throttle(measured.throttle), measured.throttle.verdict in ("throttled", "slowed")))
    if measured.sensors:
        lines.append(("energy", energy(measured), False))
        lines += [(name, words, False) for name, words in sensors(measured.sensors)]
    return tuple(lines)


def generation(timed: GenerationTimes) -> str:
    """Return the time to the first token at the prompt's length, and the tokens a second after it."""
    prompt = "" if timed.prompt_tokens is None else f" after a prompt of {counted(timed.prompt_tokens)}"
    words = f"first token {ms(timed.first_token_ms)}{prompt}"
    if timed.tokens_per_s is not None:
        words += f", then {significant(timed.tokens_per_s)} tokens per second ({ms(timed.token_ms)} each)"
    if (read := timed.read_gb_per_s) is not None:
        words += f"; {significant(timed.read_mb)} MB of weights a token are {significant(read)} GB per second"
        if timed.memory_gb_per_s:
            share = 100 * read / timed.memory_gb_per_s
            words += f", {significant(share)}% of the {significant(timed.memory_gb_per_s)} that memory gives here"
    return f"{words}; medians of {timed.count} runs of {counted(timed.tokens)}"


def counted(tokens: int) -> str:
    return "1 token" if tokens == 1 else f"{tokens} tokens"


def end_to_end(timed: EndToEnd) -> str:
    """Return the time from a raw sample to the answer, and of each part."""
    percentiles = ", ".join(f"{name} {ms(value)}" for name, value in timed.percentiles_ms.items() if name in SHOWN)
    percentiles = percentiles or f"mean {ms(timed.mean_ms)} of {timed.count}, too few for a percentile"
    return (
        f"{percentiles} from '{clean(timed.sample)}' to the answer (preparing {ms(timed.prepare_ms)}, inferring "
        f"{ms(timed.infer_ms)}, answering {ms(timed.answer_ms)}, medians of {timed.count})"
    )


SHOWN = ("p50", "p90", "p99")


def pace(kept: Pace, count: int) -> str:
    """Return whether the inferences kept up with the arrivals, and how many missed their deadline."""
    service = kept.service_p50_ms
    alone = "" if service is None else f"; an inference alone takes {ms(service)}"
    busy = f"busy {100 * kept.busy_share:.0f}% of the time"
    missed = f"{kept.missed} answers of {count} later than {ms(kept.deadline_ms)} after their arrival"
    words = f"{kept.rate_per_s:g} arrivals a second, {busy}{alone}; {missed if kept.missed else 'no deadline missed'}"
    if not kept.overloaded:
        return words
    return f"OVERLOADED, the queue and the latencies grow for as long as it runs: {words}"


def sustained(course: Sustained) -> str:
    """Return how the latency, the clock, the temperature and the power changed over time."""
    values = [window.p50_ms for window in course.windows]
    words = (
        f"p50 {ms(course.first_p50_ms)} in the first {course.compared_s:.0f} s, {ms(course.last_p50_ms)} in the last "
        f"({course.slowdown:.2f}x); windows between {ms(min(values))} and {ms(max(values))}"
    )
    first, last = course.windows[0], course.windows[-1]
    for start, end, unit in (
        (first.clock_mhz, last.clock_mhz, "MHz"),
        (first.temperature_c, last.temperature_c, "°C"),
        (first.power_w, last.power_w, "W"),
    ):
        if start is not None and end is not None:
            words += f"; {significant(start)} to {significant(end)} {unit}"
    return words


def throttle(judged: Throttle) -> str:
    """Return the verdict on throttling and its reasons."""
    verdict = judged.verdict.upper() if judged.verdict in ("throttled", "slowed") else judged.verdict
    return f"{verdict}: {clean('; '.join(judged.reasons))}" if judged.reasons else verdict


def energy(measured: Measurement) -> str:
    """Return the energy of an inference and the power rail it was measured on, or why it is not known."""
    if measured.energy_j is None:
        return f"unknown:  {clean(measured.energy_reason or 'no reason was recorded')}"
    joules = measured.energy_j
    amount = f"{significant(1e3 * joules)} mJ" if joules < 1 else f"{significant(joules)} J"
    return f"{amount} per inference on {clean(measured.energy_rail or 'an unnamed rail')}, the total of the rail"


def sensors(read: Sensors) -> tuple[tuple[str, str], ...]:
    """Return (sensor, words): the range of each kind of sensor, and the reasons for those that are absent."""
    lines: list[tuple[str, str]] = []
    shown: tuple[Quantity, ...] = ("temperature", "clock", "power", "memory")
    for quantity in shown:
        spans = [
            f"{clean(series.name)} {_span(min(series.known), max(series.known))} {UNITS[quantity]}"
            for series in read.of(quantity)
        ]
        if spans:
            lines.append((quantity, ", ".join(spans)))
    reasons: dict[str, list[str]] = {}
    for name, why in read.absent.items():
        reasons.setdefault(clean(why), []).append(clean(name))
    lines += [("no reading", f"{', '.join(names)}: {why}") for why, names in reasons.items()]
    lines += [(clean(name), clean(fact)) for name, fact in read.facts.items()]
    if read.cpu_share is not None:
        share = f"{100 * read.cpu_share:.2g}% of one processor"
        lines.append(("sensors", f"read every {read.interval_s:g} s, {len(read.times_s)} times, using {share}"))
    return tuple(lines)


def _span(least: float, most: float) -> str:
    low, high = significant(least), significant(most)
    return low if low == high else f"{low} to {high}"
