"""What a scenario and the sensors say of a measurement, in words: energy, heat, clocks, throttling, deadlines."""

from __future__ import annotations

from edgekit.report.figures import clean, ms, significant
from edgekit.result.measurement import UNITS, EndToEnd, Measurement, Pace, Quantity, Sensors, Sustained, Throttle

Line = tuple[str, str, bool]
"""What it is about, the words, and whether they are a warning."""


def lines(found: Measurement) -> tuple[Line, ...]:
    """Say all that is known beside the latencies; nothing of a measurement without sensors and scenario."""
    said: list[Line] = []
    if found.end_to_end:
        said.append(("end to end", end_to_end(found.end_to_end), False))
    if found.pace:
        said.append(("pace", pace(found.pace, found.count), found.pace.overloaded or found.pace.missed > 0))
    if found.sustained:
        said.append(("over time", sustained(found.sustained), False))
    if found.throttle:
        said.append(("throttling", throttle(found.throttle), found.throttle.verdict in ("throttled", "slowed")))
    if found.sensors:
        said.append(("energy", energy(found), False))
        said += [(name, words, False) for name, words in sensors(found.sensors)]
    return tuple(said)


def end_to_end(found: EndToEnd) -> str:
    """Return how long the whole way took, and its parts."""
    percentiles = ", ".join(f"{name} {ms(value)}" for name, value in found.percentiles_ms.items() if name in SHOWN)
    percentiles = percentiles or f"mean {ms(found.mean_ms)} of {found.count}, too few for a percentile"
    return (
        f"{percentiles} from '{clean(found.sample)}' to the answer (preparing {ms(found.prepare_ms)}, inferring "
        f"{ms(found.infer_ms)}, answering {ms(found.answer_ms)}, medians of {found.count})"
    )


SHOWN = ("p50", "p90", "p99")


def pace(found: Pace, count: int) -> str:
    """Return whether the schedule was kept."""
    service = found.service_p50_ms
    alone = "" if service is None else f"; an inference alone takes {ms(service)}"
    busy = f"busy {100 * found.busy_share:.0f}% of the time"
    missed = f"{found.missed} answers of {count} later than {ms(found.deadline_ms)} after their arrival"
    words = f"{found.rate_per_s:g} arrivals a second, {busy}{alone}; {missed if found.missed else 'no deadline missed'}"
    if not found.overloaded:
        return words
    return f"OVERLOADED, the queue grows for as long as it runs and so do the latencies: {words}"


def sustained(found: Sustained) -> str:
    """Return how the latency went, from window to window."""
    values = [window.p50_ms for window in found.windows]
    words = (
        f"p50 {ms(found.first_p50_ms)} in the first {found.compared_s:.0f} s, {ms(found.last_p50_ms)} in the last "
        f"({found.slowdown:.2f}x); windows between {ms(min(values))} and {ms(max(values))}"
    )
    first, last = found.windows[0], found.windows[-1]
    for one, other, unit in (
        (first.clock_mhz, last.clock_mhz, "MHz"),
        (first.temperature_c, last.temperature_c, "°C"),
        (first.power_w, last.power_w, "W"),
    ):
        if one is not None and other is not None:
            words += f"; {significant(one)} to {significant(other)} {unit}"
    return words


def throttle(found: Throttle) -> str:
    """Return whether the machine slowed itself down."""
    verdict = found.verdict.upper() if found.verdict in ("throttled", "slowed") else found.verdict
    return f"{verdict}: {clean('; '.join(found.reasons))}" if found.reasons else verdict


def energy(found: Measurement) -> str:
    """Return what an inference took, and of which rail; or why that is not known."""
    if found.energy_j is None:
        return f"not known: {clean(found.energy_reason or 'no reason was kept')}"
    joules = f"{significant(1e3 * found.energy_j)} mJ" if found.energy_j < 1 else f"{significant(found.energy_j)} J"
    return f"{joules} an inference on {clean(found.energy_rail or 'an unnamed rail')}, all that the rail gave"


def sensors(found: Sensors) -> tuple[tuple[str, str], ...]:
    """Return what each kind of sensor read: its range, or why there is none."""
    said: list[tuple[str, str]] = []
    shown: tuple[Quantity, ...] = ("temperature", "clock", "power", "memory")
    for quantity in shown:
        series = found.of(quantity)
        if series:
            words = ", ".join(
                f"{clean(one.name)} {_span(min(one.known), max(one.known))} {UNITS[quantity]}" for one in series
            )
            said.append((quantity, words))
    reasons: dict[str, list[str]] = {}
    for name, why in found.absent.items():
        reasons.setdefault(clean(why), []).append(clean(name))
    said += [("no reading", f"{', '.join(names)}: {why}") for why, names in reasons.items()]
    said += [(clean(name), clean(fact)) for name, fact in found.facts.items()]
    if found.cpu_share is not None:
        share = f"{100 * found.cpu_share:.2g}% of one processor"
        said.append(("sensors", f"read every {found.interval_s:g} s, {len(found.times_s)} times, at {share}"))
    return tuple(said)


def _span(least: float, most: float) -> str:
    low, high = significant(least), significant(most)
    return low if low == high else f"{low} to {high}"
